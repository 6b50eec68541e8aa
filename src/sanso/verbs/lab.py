"""lab: the workshop. Each verb is a moment of an exercise: start, check, hint, answer, solve, reset, skip, report."""

from __future__ import annotations

import time
from pathlib import Path

import click

from sanso import console, options, project
from sanso.console import COULD_NOT_CHECK, DONE, FAILED, Failure
from sanso.lab import course, exercise, lasting, progress, report
from sanso.lab.desk import Desk
from sanso.lab.exercise import LANGUAGES, Exercise
from sanso.lab.goals import MET, NOT_MET, UNKNOWN
from sanso.lab.place import Place
from sanso.lab.progress import Attempt
from sanso.lab.words import Words
from sanso.project import relative
from sanso.tracing import site_of, waterfall
from sanso.verbs import trace as tracing

WATCH_SECONDS = 3
MARKS = {MET: "✓", NOT_MET: "✗", UNKNOWN: "?"}
STYLES = {MET: "green", NOT_MET: "bold red", UNKNOWN: "yellow"}


@click.group(cls=options.InOrder)
def lab():
    """Learn it: build, break and mend the three tiers.

    Its exercises are graded by what really happens, on a machine that each start makes anew. All of them work
    without a network, once that machine has been built. TERM=dumb: no line is redrawn.
    """


verb = lab.command  # each verb below


def alone(what: str):
    """One of them at a time in the learner's folder, whatever else is built in this checkout meanwhile."""
    return project.alone(f"lab {what}", Place.here().folder)


@verb("list")
@options.as_json
def list_():
    """The exercises, and how far you are."""
    desk = Desk()
    rows = []
    for each in exercise.exercises():
        state, title = desk.progress.state(each.id), desk.text(each).title
        rows.append({"id": each.id, "title": title, "minutes": each.minutes, "state": state})
        here = "→" if each.id == desk.progress.current else " "
        console.line(
            [
                (f"{here} {each.id:>3}  ", ""),
                (title, "bold" if here == "→" else ""),
                (f"  {desk.words.say('about', minutes=each.minutes)}  ", "dim"),
                (desk.words.say(state), "green" if state in progress.ENDED else "dim"),
            ]
        )
    console.result({"learner": desk.progress.learner, "exercises": rows})


@verb()
@click.argument("number")
@click.option("--lang", type=click.Choice(LANGUAGES), help="The texts' language, from now on.")
@options.verbose
def start(number, lang, verbose):
    """Make the machine ready for an exercise, and say the goal.

    Any exercise can be started alone; a second start is another attempt. What you changed is moved away first.
    """
    with alone("start"):
        desk = Desk(verbose)
        desk.progress.language = lang or desk.progress.language
        chosen = chosen_of(desk, exercise.find(number))
        desk.begin(chosen)
        tell(desk, chosen)


def chosen_of(desk: Desk, found: list[Exercise]) -> Exercise:
    """Of the parts of a number, the first one that isn't done yet."""
    return next((each for each in found if desk.progress.state(each.id) not in progress.ENDED), found[0])


def tell(desk: Desk, chosen: Exercise):
    """The page of an exercise: title, situation, goals, questions, and what to type."""
    text, words = desk.text(chosen), desk.words
    console.say()
    console.line([(f"{chosen.id}  {text.title}", "bold"), (f"  {words.say('about', minutes=chosen.minutes)}", "dim")])
    console.say()
    console.say(words.localized(text.situation))
    console.say()
    console.say(words.say("goals"), style="bold")
    for said in text.goals.values():
        console.say(f"  - {words.localized(said)}")
    if text.questions:
        console.say(words.say("questions"), style="bold")
        for key, said in text.questions.items():
            console.say(f"  - {key}: {words.localized(said)}")
            for choice, meaning in text.choices[key].items():
                console.say(f"      {key}={choice}  {words.localized(meaning)}")
    console.say()
    console.say(words.say("machine", machine=desk.place.machine, address=desk.place.address), style="dim")
    if text.questions:
        console.say(words.say("next_answer", words=form(chosen)), style="dim")
    console.say(words.say("next_check"), style="dim")


def form(chosen: Exercise) -> str:
    return " ".join(f"{key}=…" for key in chosen.questions)


@verb()
@click.argument("number", required=False)
@click.option("--lasting", "whether_it_lasts", is_flag=True, help="Also whether it lasts; restarts the machine.")
@options.verbose
@options.as_json
@click.pass_context
def check(ctx, number, whether_it_lasts, verbose):
    """Each goal: met, not met, or could not check.

    What works now is a stopgap. --lasting finds out whether it is more: a run of site.yml has nothing left to change,
    and a restart of the machine is survived.

    Exit codes: 0 all met, 1 a goal is not met, 3 a goal could not be checked.
    """
    with alone("check"):
        desk = Desk(verbose)
        chosen, attempt = desk.current(number)
        found = desk.judge(chosen, attempt, whether_it_lasts)
    console.result({"exercise": chosen.id, **found})
    show_check(desk, chosen, attempt, found)
    ctx.exit({NOT_MET: FAILED, UNKNOWN: COULD_NOT_CHECK}.get(found["state"], DONE))


def show_check(desk: Desk, chosen: Exercise, attempt: Attempt, found: dict):
    words, text = desk.words, desk.text(chosen)
    for each in found["goals"]:
        said = text.goals.get(each["key"]) or words.say(each["key"])
        console.line(
            [
                (f"{MARKS[each['state']]} ", STYLES[each["state"]]),
                (f"{words.say(each['state'])}: ", ""),
                (words.localized(said), ""),
            ]
        )
        for name in ("expected", "found"):
            if each[name] and (name == "found" or each["state"] != MET):
                console.say(f"    {words.say(name)}: {each[name]}", style="dim")
    if found["verdict"] in (progress.STOPGAP, *progress.ENDED):
        show_times(desk, attempt)
    what = chosen.restart or desk.place.machine
    unanswered = [key for key in chosen.questions if not is_answered(attempt, key)]
    if unanswered:
        desk.say("unanswered", style="dim", keys=", ".join(unanswered), words=form(chosen))
    lasts = [each for each in found["goals"] if each["key"] in (lasting.KEPT, lasting.RESTARTED)]
    match found["verdict"]:
        case progress.DURABLE:
            desk.say("is_durable", style="bold", what=what)
            show_next(desk, chosen)
        case progress.STOPGAP if lasts:
            desk.say("not_lasting", style="bold")
        case progress.STOPGAP:
            desk.say("all_met", style="bold")
            desk.say("is_stopgap", what=what)
        case progress.DONE:
            desk.say("all_met", style="bold")
            desk.say("is_done")
            show_next(desk, chosen)
        case "":
            desk.say("some_unknown", style="bold")


def show_times(desk: Desk, attempt: Attempt):
    """How long after the start it was seen, located and mended."""
    told = [f"{desk.words.say(name)} {after}" for name, after in report.times(attempt).items() if after]
    console.say(", ".join(told), style="dim")


def show_next(desk: Desk, chosen: Exercise):
    known = exercise.exercises()
    following = known[known.index(chosen) + 1 :]
    if following:
        desk.say("next_exercise", style="dim", id=following[0].id)
    else:
        desk.say("the_end", style="dim")


def is_answered(attempt: Attempt, key: str) -> bool:
    return any(key in answer["said"] for answer in attempt.answers)


@verb()
@click.argument("where", type=click.Choice(list(waterfall.OWNED)), default="vm")
@click.option("--path", default="/", show_default=True, help="Of the site.")
def trace(where, path):
    """Follow a request; hops that you may not touch are grey.

    On a VM all are yours, with a container the image, on a PaaS the app's code.
    """
    desk = Desk()
    desk.current()
    desk.stages.require()
    described = desk.stages.described
    host = tracing.host_of(described, None)
    url, app = site_of(host.get("apps", []), path)
    (found,) = tracing.follow_all(described, host, tracing.call_of(url, host, "GET", (), None), app, 1)
    tracing.say([*waterfall.body(found, console.width(), waterfall.OWNED[where]), *waterfall.endings(found)])


@verb()
@click.option(
    "--seconds", type=click.IntRange(1, 600), default=WATCH_SECONDS, show_default=True, help="Between checks."
)
@click.pass_context
def watch(ctx, seconds):
    """Check again while you work, until all goals are met.

    Only what changes is said.
    """
    desk = Desk()
    chosen, attempt = desk.current()
    if chosen.restarts:
        raise Failure(
            f"each check of exercise {chosen.id} restarts the machine, under your hands",
            next_step="./sanso lab check, when you are ready",
        )
    desk.say("watching", style="dim", seconds=seconds)
    before = None
    while True:
        with alone("watch"):
            found = desk.judge(chosen, attempt)
        now = [(each["key"], each["state"], each["found"]) for each in found["goals"]]
        if now != before:
            console.say(time.strftime("%H:%M:%S"), style="dim")
            show_check(desk, chosen, attempt, found)
        if found["state"] == MET:
            ctx.exit(DONE)
        before = now
        time.sleep(seconds)


@verb()
def hint():
    """The next hint: symptom, where to look, command."""
    desk = Desk()
    chosen, attempt = desk.current()
    hints = desk.text(chosen).hints
    if attempt.hints == len(hints):
        desk.say("no_more_hints")
        return
    attempt.hints += 1
    desk.progress.write()
    desk.say("hint", style="bold", number=attempt.hints)
    console.say(desk.words.localized(hints[attempt.hints - 1]))


@verb()
@click.argument("said", nargs=-1, metavar="[QUESTION=ANSWER]…")
@options.as_json
@click.pass_context
def answer(ctx, said):
    """Name tier and cause, before you mend it.

    It is graded by itself. Without words, it says what is asked.

    Exit codes: 0 all right, 1 not so.
    """
    desk = Desk()
    chosen, attempt = desk.current()
    if not chosen.questions:
        raise Failure(f"exercise {chosen.id} asks no question", next_step="./sanso lab check")
    if not said:
        tell(desk, chosen)
        return
    given = answers_of(chosen, said)
    graded = {key: chosen.questions[key].answer(key, attempt.drawn) == value for key, value in given.items()}
    before = bool(not attempt.repaired)
    known = {key: value for each in attempt.answers for key, value in each["said"].items()} | given
    all_right = all(known.get(key) == each.answer(key, attempt.drawn) for key, each in chosen.questions.items())
    attempt.answers.append(
        {"at": progress.timestamp(), "said": given, "right": graded, "before": before, "all_right": all_right}
    )
    desk.progress.write()
    console.result({"exercise": chosen.id, "right": graded, "all_right": all_right, "before_the_repair": before})
    for key, right in graded.items():
        (console.good if right else console.bad)(f"{key}={given[key]}: {desk.words.say('right' if right else 'wrong')}")
    if not before:
        desk.say("after_repair")
    if all_right:
        desk.say("all_right", style="bold")
    ctx.exit(DONE if all(graded.values()) else FAILED)


def answers_of(chosen: Exercise, said: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for word in said:
        key, _, value = word.partition("=")
        question = chosen.questions.get(key)
        if not question:
            raise click.UsageError(f"{word!r} answers no question; these are asked: {form(chosen)}")
        if value not in question.choices:
            raise click.UsageError(f"{value!r} is no answer to {key}; these are: {', '.join(question.choices)}")
        found[key] = value
    return found


@verb()
@options.verbose
def solve(verbose):
    """Show the solution, and make it so. The attempt counts as shown."""
    with alone("solve"):
        desk = Desk(verbose)
        chosen, attempt = desk.current()
        desk.stages.require()
        desk.solve(chosen, attempt)
        attempt.state = progress.SHOWN
        desk.progress.write()
    desk.say("solved", style="bold")
    console.say(desk.words.localized(desk.text(chosen).hints[-1]))
    console.say()
    console.say(desk.words.localized(desk.text(chosen).afterwards))


@verb()
@options.verbose
def reset(verbose):
    """Back to the start of the exercise, on a new machine.

    That is another attempt; what you changed is moved away first.
    """
    with alone("reset"):
        desk = Desk(verbose)
        chosen, attempt = desk.current()
        desk.begin(chosen, seed=attempt.seed)
        tell(desk, chosen)
        desk.say("reset", style="dim")


@verb()
def skip():
    """Leave the exercise; it stays in the list, as skipped."""
    desk = Desk()
    chosen, attempt = desk.current()
    if attempt.state == progress.STARTED:
        attempt.state = progress.SKIPPED
    desk.progress.write()
    desk.say("was_skipped", id=chosen.id)
    show_next(desk, chosen)


@verb("report")
@click.argument("number", required=False)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Another file than in your folder.")
def report_(number, html):
    """Write the post-mortem, as a page.

    What was broken, when it was seen, located and mended, and by which changes.
    """
    desk = Desk()
    wanted = exercise.find(number) if number else [each for each in exercise.exercises() if desk.progress.last(each.id)]
    done = [each for each in wanted if desk.progress.last(each.id)]
    if not done:
        raise Failure("there is nothing to report yet", next_step="./sanso lab start 0")
    name = f"report-{done[0].id}.html" if len(done) == 1 else "report.html"
    file = html or desk.place.root / name
    file.write_text(report.render(desk.progress, done, desk.words), encoding="utf-8")
    desk.say("written", where=relative(file))


@verb("class")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the table as a page.")
@options.as_json
def class_(files, html):
    """One table of many learners, for who teaches.

    From their progress files (lab/progress.json), or folders of them.
    """
    table = course.read(files)
    console.result(table.as_data())
    for line in table.lines(Words.here().say):
        console.say(line)
    if html:
        html.write_text(course.render(table, Words.here()), encoding="utf-8")
        console.say(f"wrote {relative(html)}", style="dim")


@verb()
@click.option(
    "--stages", "forget", is_flag=True, help="Also what was built before the exercises: the next start builds it anew."
)
def end(forget):
    """Remove the machine. Your progress and your files stay."""
    with alone("end"):
        desk = Desk()
        if not desk.place.inventory.exists():
            desk.place.begin("end")  # the folder was removed, and the machine may be there still
        if forget:
            desk.stages.forget()
        else:
            desk.stages.machine("absent")
    desk.say("ended")
