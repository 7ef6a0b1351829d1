"""Makes the pictures of README.md: python3 tests/pictures.py [--check] [--csv FILE]

Needs the standard library only. Writes tests/pictures/*.svg; with --check it writes nothing and fails
if a picture there is not what it would write. The plot of the costs comes from tests/pictures/cost.csv,
which is what `make bench CSV=tests/pictures/cost.csv` has written; --csv names another file.

Colours follow the reader: each picture has a style sheet with a dark half (prefers-color-scheme).
"""
import csv
import os
import re
import sys

DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pictures")

LIGHT = dict(ink="#1f2328", soft="#59636e", line="#8c959f", paper="#ffffff", box="#f3f5f8",
             one="#0b57d0", two="#b3540a", three="#14713a")
DARK = dict(ink="#e6edf3", soft="#a3adb8", line="#6e7681", paper="#0d1117", box="#1b222c",
            one="#7cb0ff", two="#f0a35e", three="#6cd391")


def colours(of):  # no CSS variables: some renderers do not know them
    return """text { fill: %(ink)s; } .soft { fill: %(soft)s; } .paper { fill: %(paper)s; }
    .box { fill: %(box)s; stroke: %(line)s; } .line { stroke: %(line)s; } .head { fill: %(line)s; }
    .one { stroke: %(one)s; } .two { stroke: %(two)s; } .three { stroke: %(three)s; }
    .fill-one { fill: %(one)s; } .fill-two { fill: %(two)s; } .fill-three { fill: %(three)s; }""" % of


STYLE = """
    text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
    .small { font-size: 12.5px; } .title { font-size: 16px; font-weight: 600; }
    .strong { font-weight: 600; } .middle { text-anchor: middle; } .end { text-anchor: end; }
    .line { fill: none; stroke-width: 1.5; } .dash { stroke-dasharray: 5 4; }
    .life { stroke-width: 5; fill: none; stroke-linecap: round; }
    .thin { stroke-width: 2; fill: none; }
    %s
    @media (prefers-color-scheme: dark) {
    %s
    }
""" % (colours(LIGHT), colours(DARK))


def escape(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Picture:
    def __init__(self, width, height, title, description):
        self.size = (width, height)
        self.title, self.description = title, description
        self.parts = []

    def text(self, x, y, words, look=""):
        self.parts.append('<text x="%g" y="%g"%s>%s</text>'
                          % (x, y, ' class="%s"' % look if look else "", escape(words)))

    def line(self, x1, y1, x2, y2, look="line", arrow=False):
        mark = ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append('<path class="%s" d="M%g %g L%g %g"%s/>' % (look, x1, y1, x2, y2, mark))

    def path(self, d, look="line", arrow=False):
        mark = ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append('<path class="%s" d="%s"%s/>' % (look, d, mark))

    def box(self, x, y, width, height, look="box"):
        self.parts.append('<rect class="%s" x="%g" y="%g" width="%g" height="%g" rx="6"/>'
                          % (look, x, y, width, height))

    def dot(self, x, y, look):
        self.parts.append('<circle class="%s" cx="%g" cy="%g" r="4.5"/>' % (look, x, y))

    def svg(self):
        width, height = self.size
        return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" '
                'role="img" aria-labelledby="t d">\n'
                '<title id="t">%s</title>\n<desc id="d">%s</desc>\n<style>%s</style>\n'
                '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
                'markerHeight="7" orient="auto"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>\n'
                '<rect class="paper" width="%g" height="%g"/>\n%s\n</svg>\n'
                % (width, height, width, height, escape(self.title), escape(self.description), STYLE,
                   width, height, "\n".join(self.parts)))


# ---- The life of a start --------------------------------------------------------------------------

def life(title, description, lanes, events, height, notes=()):
    """Lanes are processes, time runs down. lanes: (name, what it is, look, begin, end)."""
    picture = Picture(860, height, title, description)
    picture.text(24, 30, title, "title")
    place = {}
    for number, (name, what, look, begin, end) in enumerate(lanes):
        x = 110 + number * (640 / (len(lanes) - 1))
        place[name] = x
        picture.box(x - 94, 46, 188, 44)
        picture.text(x, 64, name, "strong middle")
        picture.text(x, 82, what, "soft small middle")
        if begin > 96:
            picture.line(x, 90, x, begin, "line dash")
        picture.line(x, begin, x, end, "life " + look)
    for y, who, other, words, side in events:
        x = place[who]
        if other:
            to = place[other]
            gap = 8 if to > x else -8
            picture.line(x + gap, y, to - gap, y, "line", True)
        at = x + 12 if side == "right" else x - 12
        lift = -7 if other else 4
        picture.text(at, y + lift, words, "small" + ("" if side == "right" else " end"))
        if not other:
            picture.dot(x, y, "fill-" + {"launcher": "one", "leader": "two", "daemon": "three",
                                         "signal process": "two"}[who])
    for number, words in enumerate(notes):
        picture.text(24, height - 14 - 19 * (len(notes) - 1 - number), words, "soft small")
    return picture.svg()


def start_on_unix():
    lanes = [("launcher", "the command you typed", "one", 98, 500),
             ("leader", "leads the new session", "two", 238, 470),
             ("daemon", "runs your program", "three", 282, 620)]
    events = [
        (118, "launcher", None, "checks the options, finds the user", "right"),
        (144, "launcher", None, "decides whether to detach", "right"),
        (170, "launcher", None, "locks the PID file, still empty", "right"),
        (196, "launcher", None, "opens logs, flushes stdio", "right"),
        (238, "launcher", "leader", "first fork; now it waits", "right"),
        (282, "leader", "daemon", "setsid, second fork; now it waits", "right"),
        (306, "daemon", None, "closes inherited descriptors", "left"),
        (328, "daemon", None, "writes its PID into the PID file", "left"),
        (350, "daemon", None, "privileged(): still root", "left"),
        (372, "daemon", None, "chroot, chdir, drops root", "left"),
        (394, "daemon", None, "signals; then your initialisation", "left"),
        (436, "daemon", "leader", "ready(), or fail(text)", "left"),
        (470, "leader", "launcher", "the report; then it exits", "left"),
        (500, "launcher", None, "exits: 0, or one line and a status", "right"),
        (540, "daemon", None, "your loop; callbacks of signals", "left"),
        (600, "daemon", None, "removes the PID file, unlocks it, ends", "left"),
    ]
    notes = ["If the daemon ends, or the time is over, or Ctrl-C ends the launcher before ready(): the leader "
             "kills the daemon,",
             "removes the PID file and reports why. Until the report all three hold the lock of the PID file."]
    return life("The life of a start on Unix",
                "Three processes from top to bottom: the launcher forks the leader, the leader forks the "
                "daemon, the daemon reports that it is ready, and the launcher exits.",
                lanes, events, 690, notes)


def start_on_windows():
    lanes = [("launcher", "the command you typed", "one", 98, 420),
             ("daemon", "the program, started again", "three", 214, 560),
             ("signal process", "suspended, runs no code", "two", 338, 470)]
    events = [
        (118, "launcher", None, "checks the options", "right"),
        (144, "launcher", None, "opens the PID file, still empty", "right"),
        (170, "launcher", None, "makes a job: no half start is left", "right"),
        (214, "launcher", "daemon", "starts the program again", "right"),
        (240, "daemon", None, "main() runs again, up to the start", "right"),
        (264, "daemon", None, "takes over the PID file", "right"),
        (288, "daemon", None, "privileged(); your initialisation", "right"),
        (338, "daemon", "signal process", "starts it, suspended; writes its", "right"),
        (390, "daemon", "launcher", "ready(), or fail(text)", "left"),
        (420, "launcher", None, "exits: 0, or one line and a status", "right"),
        (470, "signal process", "daemon", "it ends with code N: signal N", "left"),
        (500, "daemon", None, "starts the next one, then runs the callback", "right"),
        (546, "daemon", None, "empties and removes the PID file, ends", "right"),
    ]
    notes = ["The PID file names the signal process. send(), Python's os.kill(pid, 15) and taskkill /F /PID end it: "
             "that is the signal.",
             "The daemon starts the next signal process before it runs your callback, so that no signal is lost."]
    picture = life("The life of a start on Windows",
                   "The launcher starts the program again as the daemon; the daemon starts a suspended "
                   "signal process, whose end is a signal.",
                   lanes, events, 632, notes)
    return picture.replace("</svg>", '<text x="442" y="356" class="small">PID into the PID file</text>\n</svg>')


# ---- The life of a PID file -----------------------------------------------------------------------

def pid_file():
    picture = Picture(860, 400, "The life of a PID file",
                      "States of a PID file: missing, locked and empty, locked with a PID, ready, and left by "
                      "a crash; and what the verb status says in each.")
    picture.text(24, 30, "The life of a PID file", "title")
    states = {
        "missing": (24, 80, "no file", "status: not running, 3"),
        "locked": (236, 80, "locked, empty", "status: starting, 4"),
        "entered": (448, 80, "locked, has the PID", "status: starting, 4"),
        "ready": (660, 80, "locked, ready", "status: running, 0"),
        "stale": (448, 258, "unlocked, has a PID", "status: dead, 1"),
        "empty": (660, 258, "unlocked, empty", "status: not running, 3"),
    }
    width, height = 176, 58
    for x, y, what, status in states.values():
        picture.box(x, y, width, height)
        picture.text(x + width / 2, y + 24, what, "strong middle")
        picture.text(x + width / 2, y + 45, status, "soft small middle")

    for x, words in ((202, "start"), (414, "forks"), (626, "ready()")):
        picture.line(x, 109, x + 32, 109, "line", True)
        picture.text(x + 16, 72, words, "small middle")
    picture.path("M 748 78 L 748 56 Q 748 48 740 48 L 120 48 Q 112 48 112 56 L 112 78", "line three", True)
    picture.text(430, 42, "the daemon ends: it removes the file", "small middle fill-three")
    picture.path("M 536 140 L 536 164 Q 536 172 528 172 L 120 172 Q 112 172 112 164 L 112 141", "line", True)
    picture.line(290, 140, 290, 172)
    picture.text(200, 190, "the start fails: removed", "small middle")
    picture.path("M 700 140 L 700 206 Q 700 214 692 214 L 544 214 Q 536 214 536 222 L 536 256", "line two", True)
    picture.text(616, 207, "crash, kill -9", "small middle fill-two")
    picture.line(780, 140, 780, 256, "line three", True)
    picture.text(773, 240, "ends after a drop (1)", "small end fill-three")
    picture.path("M 446 287 L 358 287 Q 350 287 350 279 L 350 141", "line one", True)
    picture.text(340, 268, "start: the file is", "small end fill-one")
    picture.text(340, 286, "not in its way", "small end fill-one")
    picture.path("M 536 318 L 536 340 Q 536 348 528 348 L 80 348 Q 72 348 72 340 L 72 141", "line", True)
    picture.text(300, 341, "stop: removed", "small middle")
    picture.text(24, 386, "(1) A daemon that is no longer root may not delete in /run: it empties the file, and `stop` "
                          "deletes it. An empty file blocks no start.", "soft small")
    return picture.svg()


# ---- What it costs --------------------------------------------------------------------------------

def read_costs(path):
    """The rows of the benchmark, by section and row; lines that begin with # are the caption."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = file.read().splitlines()
    caption = " ".join(line[1:].strip() for line in lines if line.startswith("#"))
    rows = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        if row["floor"] and row["header"]:
            rows.setdefault(row["section"], {})[row["row"]] = (float(row["floor"]), float(row["header"]))
    return caption or "Measured by `make bench`: medians of many runs.", rows


def find(rows, section, row):
    for name, found in rows.items():
        match = re.match(section, name)
        if match:
            for key, values in found.items():
                if re.match(row, key):
                    return match, values
    return None, None


def costs(path):
    caption, rows = read_costs(path)
    picture = Picture(860, 380, "What a start costs",
                      "Time until ready against the number of open descriptors, with 1 GiB of memory, and the "
                      "latency of a signal, of this header and of the smallest correct C daemon.")
    picture.text(24, 30, "What it costs, beside the smallest correct C daemon", "title")
    picture.line(24, 52, 48, 52, "life two")
    picture.text(56, 57, "C daemon", "small")
    picture.line(140, 52, 164, 52, "life one")
    picture.text(172, 57, "daemonize.hpp", "small")

    # Left: the time until ready against the open descriptors.
    points = []
    _, values = find(rows, r"start, microseconds", r"from exec until ready")
    if values:
        points.append((0, values))
    for name in rows:
        match = re.match(r"(\d+) open descriptors", name)
        if match:
            _, values = find(rows, re.escape(name), r"from exec until ready")
            points.append((int(match.group(1)), values))
    points.sort()
    left, right, low, high = 80, 400, 300, 96
    picture.text(24, 84, "start until ready, ms, by open descriptors", "strong small")
    if points:
        most_x = max(x for x, _ in points) or 1
        most_y = max(max(v) for _, v in points) / 1000 * 1.15
        step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100) if most_y / s <= 6)
        tick = 0.0
        while tick <= most_y:
            y = low - tick / most_y * (low - high)
            picture.line(left, y, right, y, "line dash" if tick else "line")
            picture.text(left - 8, y + 4, "%g" % tick, "soft small end")
            tick += step
        for which, look in ((0, "two"), (1, "one")):
            places = [(left + x / most_x * (right - left),
                       low - v[which] / 1000 / most_y * (low - high)) for x, v in points]
            wide = "life " if which == 0 else "thin "
            picture.path("M" + " L".join("%g %g" % place for place in places), wide + look)
            for x, y in places:
                picture.dot(x, y, "fill-" + look)
        before = -100.0
        for x, _ in points:
            at = left + x / most_x * (right - left)
            lower = at - before < 40  # two lines for labels that are close
            picture.text(at, low + (36 if lower else 20), "{:,}".format(x) if x else "few", "soft small middle")
            before = at

    # Right: bars, each pair on a scale of its own, with its numbers.
    bars = [("start, until the launcher has left", "ms", 1000,
             find(rows, r"start, microseconds", r"from exec until the launcher has left")[1]),
            ("a process of 1 GiB, until ready", "ms", 1000,
             find(rows, r"1 GiB", r"Linux, from the call until ready")[1]),
            ("stop", "ms", 1000, find(rows, r"stop", r"from exec of the stopper")[1]),
            ("a signal, until its callback has answered", "us", 1,
             find(rows, r"signal", r"median of")[1])]
    y = 84
    for name, unit, scale, values in bars:
        if not values:
            continue
        picture.text(452, y, name, "strong small")
        widest = max(values)
        for number, look in ((0, "two"), (1, "one")):
            length = values[number] / widest * 260
            at = y + 14 + number * 18
            picture.line(456, at, 456 + max(length - 4, 1), at, "life " + look)
            picture.text(730, at + 4, "%.3g %s" % (values[number] / scale, unit), "small")
        ratio = values[1] / values[0]
        picture.text(836, y + 27, "x %.2f" % ratio, "soft small end")
        y += 66
    picture.text(24, 362, caption, "soft small")
    return picture.svg()


def main():
    arguments = sys.argv[1:]
    check = "--check" in arguments
    table = os.path.join(DIRECTORY, "cost.csv")
    if "--csv" in arguments:
        table = arguments[arguments.index("--csv") + 1]
    pictures = {"start-unix": start_on_unix(), "start-windows": start_on_windows(), "pid-file": pid_file()}
    if os.path.exists(table):
        pictures["cost"] = costs(table)
    status = 0
    for name, svg in pictures.items():
        path = os.path.join(DIRECTORY, name + ".svg")
        old = open(path, encoding="utf-8").read() if os.path.exists(path) else None
        if check:
            if old != svg:
                print("%s is not what tests/pictures.py makes: run `make pictures`" % path)
                status = 1
        elif old != svg:
            os.makedirs(DIRECTORY, exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(svg)
            print("written: " + path)
    return status


sys.exit(main())
