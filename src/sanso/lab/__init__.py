"""The workshop: exercises that break and build the three tiers, graded by what really happens.

An exercise is a folder below workshop/exercises (`exercise`); the learner works in a folder of their own (`place`), on
a machine that each exercise starts anew (`stages`); what they did is kept (`progress`), judged (`goals`, `lasting`) and
told (`report`, `course`). The verb is `./sanso lab`.
"""
