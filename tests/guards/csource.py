"""What the guards share: C sources without their comments, and how a guard ends."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def files(*patterns):
    """Paths below the root that match, sorted, without doubles."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path.relative_to(ROOT) for path in found)


def without_comments(text):
    """The same text with blanks for comments; offsets and lines stay."""
    def blank(match):
        token = match[0]
        return re.sub(r"[^\n]", " ", token) if token.startswith("/") else token
    return TOKEN.sub(blank, text)


def without_strings(text):
    """The same text with x for what stands in quotes; for counting brackets."""
    return TOKEN.sub(lambda match: match[0][0] + re.sub(r"[^\n]", "x", match[0][1:-1]) + match[0][0],
                     text)


def source(path):
    return without_comments(read(path))


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def strings(text):
    """(offset, contents) of each literal; for text without comments."""
    for match in re.finditer(r'"(?:\\.|[^"\\\n])*"', text):
        yield match.start(), match[0][1:-1]


def calls(text, name):
    """(offset, name, [arguments]) of each call of a function that matches `name`."""
    plain = without_strings(text)
    for match in re.finditer(rf"\b({name})\s*\(", plain):
        depth, start, arguments = 1, match.end(), []
        at = start
        while depth and at < len(plain):
            char = plain[at]
            depth += (char in "([{") - (char in ")]}")
            if (char == "," and depth == 1) or depth == 0:
                arguments.append(text[start:at].strip())
                start = at + 1
            at += 1
        yield match.start(), match[1], arguments


def functions(text):
    """(name, first line, last line, number of parameters) of each function; for text without
    comments. What "..." stands for is no parameter.

    clang-format puts a function's braces, and nothing else's but a type's, into column one; what
    has data between them has no ")" in front of them."""
    pattern = r"^(?!typedef|struct|enum|union)\w[^;{}=]*?\b(\w+)(\([^;{}]*\))\s*\n\{.*?^\}"
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        _, _, parameters = next(calls(match[1] + match[2], match[1]))
        count = len([one for one in parameters if one not in ("", "void", "...")])
        yield match[1], line_of(text, match.start()), line_of(text, match.end()), count


def end(checked, problems):
    """Ends the guard. `checked` says what was looked at: (number, what); none may be 0."""
    for problem in problems:
        print(f"    {problem}")
    for number, what in checked:
        if not number:
            print(f"    found nothing to check: {what}")
            problems = problems or ["nothing"]
    print(", ".join(f"{number} {what}" for number, what in checked))
    sys.exit(1 if problems else 0)
