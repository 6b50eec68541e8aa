"""Stands in for the events that ./sanso follows."""


def attach(state):
    pass


def diff(state, host, diffs):
    pass


def notice(state, host, text):
    pass


def refusal(state, host, text):
    pass
