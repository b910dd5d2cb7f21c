"""Pictures of the terminal for the README: runs a command in a pseudo-terminal and draws what it showed as SVG.

    pip install pyte
    python docs/pictures/make.py up.svg stacks/clarifai -- cais up -d --wait

The picture is what was really printed: the last state of the screen, colours included.
"""

import os
import pty
import select
import struct
import sys
import termios
import time
from fcntl import ioctl
from html import escape
from pathlib import Path

import pyte

COLUMNS, ROWS = 92, 60
WIDTH, HEIGHT, PAD = 8.4, 18, 16
COLOURS = {
    "default": "#d8dee9",
    "black": "#4c566a",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#eceff4",
}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


def screen_of(argv: list[str], folder: str) -> pyte.Screen:
    """Run a command on a terminal of its own and give the screen as it left it."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS))
        os.environ.pop("NO_COLOR", None)
        os.execvp(argv[0], argv)
    ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    until = time.monotonic() + 600
    while time.monotonic() < until:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        stream.feed(data)
    os.waitpid(pid, 0)
    return screen


def svg(screen: pyte.Screen, prompt: str) -> str:
    last = max((n for n, line in enumerate(screen.display) if line.strip()), default=0)
    height = HEIGHT * (last + 2) + 2 * PAD
    width = WIDTH * COLUMNS + 2 * PAD
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" role="img">',
        f"<title>{escape(prompt)}</title>",
        '<rect width="100%" height="100%" rx="8" fill="#21252b"/>',
        f'<g font-family="{FONT}" font-size="14" xml:space="preserve">',
        f'<text x="{PAD}" y="{PAD + 12}" fill="#98c379">$ <tspan fill="#eceff4">{escape(prompt)}</tspan></text>',
    ]
    for row in range(last + 1):
        line, column = screen.buffer[row], 0
        while column < COLUMNS:
            cell, start, text = line[column], column, ""
            while column < COLUMNS and (line[column].fg, line[column].bold) == (cell.fg, cell.bold):
                text += line[column].data
                column += 1
            if text.strip():
                colour = COLOURS.get(cell.fg.removeprefix("bright"), "#" + cell.fg if len(cell.fg) == 6 else "#d8dee9")
                weight = ' font-weight="bold"' if cell.bold else ""
                x, y = PAD + WIDTH * start, PAD + 12 + HEIGHT * (row + 1)
                text = text.rstrip()
                length = f"{WIDTH * len(text):.1f}"
                words = escape(text).replace(" ", "\u00a0")
                out.append(f'<text x="{x:.1f}" y="{y}" fill="{colour}"{weight} textLength="{length}">{words}</text>')
    return "\n".join([*out, "</g></svg>", ""])


def main() -> None:
    cut = sys.argv.index("--")
    name, folder = sys.argv[1:cut]
    argv = sys.argv[cut + 1 :]
    shown = screen_of(argv, folder)
    Path(__file__).with_name(name).write_text(svg(shown, " ".join(argv)))


if __name__ == "__main__":
    main()
