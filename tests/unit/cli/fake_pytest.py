"""A pytest that writes the JUnit file of these test cases and ends with this code: PYTEST.format(cases=…, code=…)."""

PYTEST = """
file = [word.split("=")[1] for word in sys.argv if word.startswith("--junitxml=")][0]
with open(file, "w") as out:
    out.write("<testsuites><testsuite>" + {cases!r} + "</testsuite></testsuites>")
print("what pytest says")
sys.exit({code})
"""
