"""Draws packages.svg: the packages of echoserver, from the imports in their source. Run it as `make picture`.

An arrow points from a package to one that it imports. Arrows that a longer path implies are left out. The layout is
Sugiyama's: layers by longest path, long arrows split at each layer, and an order within layers that avoids crossings.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path
from textwrap import wrap

SOURCE = Path(__file__).parents[1] / "echoserver"
PICTURE = Path(__file__).with_name("packages.svg")

Graph = dict[str, set[str]]
"""What each package imports."""

# In pixels: the width of a box, the width of a passage, the space between them, between layers, and around the picture.
_BOX, _PASSAGE, _SPACE, _LAYER_GAP, _MARGIN = 212, 16, 28, 46, 24
_TITLE, _LINE, _PADDING = 20, 15, 10
# How many characters of the small text fit into the width of a box.
_CHARACTERS = 31

_STYLE = """
text { font: 11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #59636e; }
.name { font-size: 14px; font-weight: 600; fill: #1f2328; }
.back { fill: #ffffff; } .box { fill: #f1f6f4; stroke: #0b6e4f; } .module { fill: #f6f8fa; stroke: #b6bfc9; }
.arrow { fill: none; stroke: #7d8792; stroke-width: 1.3; } .tip { fill: #7d8792; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; } .name { fill: #e6edf3; }
  .back { fill: #0d1117; } .box { fill: #10221c; stroke: #22a67a; } .module { fill: #161b22; stroke: #4b535d; }
  .arrow { stroke: #7d8792; } .tip { fill: #7d8792; } }
""".strip()


@dataclass
class Node:
    """A box, or the passage of a long arrow through a layer.

    Attributes
    ----------
    name:
        The name of the package or module; empty for a passage.
    lines:
        The text below the name.
    below:
        The nodes that its arrows lead to, in the next layer down.
    x:
        The horizontal centre, in pixels.
    layer:
        The layer, counted from the bottom.
    """

    name: str
    layer: int
    lines: list[str] = field(default_factory=list)
    below: list[Node] = field(default_factory=list)
    x: float = 0.0

    @property
    def width(self) -> float:
        """In pixels."""
        return _BOX if self.name else _PASSAGE

    @property
    def height(self) -> float:
        """In pixels; a passage has the height of its layer."""
        return _PADDING * 2 + _TITLE + _LINE * len(self.lines) - 4


def package_of(path: Path, source: Path) -> str:
    """Return the name that a source file has in the picture: its top package, or the module itself."""
    first = path.relative_to(source).parts[0]
    return first if first.endswith(".py") else f"{first}/"


def imported(path: Path, source: Path) -> set[str]:
    """Return the names in the picture of what a file imports, wherever in the file it does so."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    found = set()
    for module in modules:
        top, *rest = module.split(".")
        if top != source.name or not rest:
            continue
        if (source / rest[0]).is_dir():
            found.add(f"{rest[0]}/")
        elif (source / f"{rest[0]}.py").is_file():
            found.add(f"{rest[0]}.py")
    return found


def read_graph(source: Path) -> tuple[Graph, dict[str, list[str]]]:
    """Return what each package imports, and the modules in it."""
    graph: Graph = {}
    modules: dict[str, list[str]] = {}
    for path in sorted(source.rglob("*.py")):
        package = package_of(path, source)
        graph.setdefault(package, set()).update(imported(path, source) - {package})
        inner = path.relative_to(source).parts[1:]
        if inner and path.name != "__init__.py":
            modules.setdefault(package, []).append("/".join(inner).removesuffix(".py"))
    return graph, modules


def without_implied(graph: Graph) -> Graph:
    """Return the graph without the arrows that a longer path implies (its transitive reduction).

    Raises
    ------
    CycleError
        Packages import one another.
    """
    reachable: Graph = {}
    for name in TopologicalSorter(graph).static_order():
        reachable[name] = graph[name].union(*(reachable[other] for other in graph[name]))
    return {name: direct - set().union(*(reachable[other] for other in direct)) for name, direct in graph.items()}


def lay_out(graph: Graph, modules: dict[str, list[str]]) -> list[list[Node]]:
    """Return the layers from the bottom up, each from left to right."""
    boxes: dict[str, Node] = {}
    for name in TopologicalSorter(graph).static_order():
        layer = max((boxes[other].layer + 1 for other in graph[name]), default=0)
        lines = wrap(", ".join(modules.get(name, [])), _CHARACTERS, break_on_hyphens=False)
        boxes[name] = Node(name, layer, lines)
    layers: list[list[Node]] = [[] for _ in range(max(node.layer for node in boxes.values()) + 1)]
    for name in sorted(boxes):
        layers[boxes[name].layer].append(boxes[name])
    for name in sorted(boxes):
        for other in sorted(graph[name]):
            _connect(boxes[name], boxes[other], layers)
    for _ in range(8):
        for nodes in layers[1:]:
            _order(nodes, {id(node): node.below for node in nodes})
        for above, nodes in reversed(list(zip(layers[1:], layers, strict=False))):
            _order(nodes, {id(node): [upper for upper in above if node in upper.below] for node in nodes})
    return layers


def _connect(upper: Node, lower: Node, layers: list[list[Node]]) -> None:
    """Add an arrow, with passages in the layers between its ends."""
    for layer in range(upper.layer - 1, lower.layer, -1):
        passage = Node("", layer)
        layers[layer].append(passage)
        upper.below.append(passage)
        upper = passage
    upper.below.append(lower)


def _order(nodes: list[Node], neighbours: dict[int, list[Node]]) -> None:
    """Order a layer by the mean position of each node's neighbours, and centre it in the picture."""

    def wanted(node: Node) -> float:
        others = neighbours[id(node)]
        return sum(other.x for other in others) / len(others) if others else node.x

    nodes.sort(key=wanted)
    total = sum(node.width for node in nodes) + _SPACE * (len(nodes) - 1)
    left = -total / 2
    for node in nodes:
        node.x = left + node.width / 2
        left += node.width + _SPACE


def draw(source: Path) -> str:
    """Return the picture of a package's source as SVG.

    Raises
    ------
    CycleError
        Packages import one another.
    """
    graph, modules = read_graph(source)
    layers = lay_out(without_implied(graph), modules)
    heights = [max(node.height for node in nodes if node.name) for nodes in layers]
    widths = [sum(node.width for node in nodes) + _SPACE * (len(nodes) - 1) for nodes in layers]
    width = round(max(widths) + 2 * _MARGIN)
    height = round(sum(heights) + _LAYER_GAP * (len(layers) - 1) + 2 * _MARGIN)
    tops = {
        layer: _MARGIN + sum(heights[layer + 1 :]) + _LAYER_GAP * (len(layers) - 1 - layer)
        for layer in range(len(layers))
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="The packages of {source.name} and what they import">',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{width}" height="{height}" rx="8"/>',
        f'<g transform="translate({width / 2:g} 0)">',
    ]
    for nodes in reversed(layers):
        for node in nodes:
            parts += _arrows(node, layers, tops, heights)
    for nodes in reversed(layers):
        for node in nodes:
            parts += _box(node, tops[node.layer])
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _box(node: Node, top: float) -> list[str]:
    if not node.name:
        return []
    style = "box" if node.name.endswith("/") else "module"
    lines = [
        f'<rect class="{style}" x="{node.x - _BOX / 2:g}" y="{top:g}" width="{_BOX}" height="{node.height:g}" rx="6"/>',
        f'<text class="name" x="{node.x - _BOX / 2 + 12:g}" y="{top + _PADDING + 13:g}">{escape(node.name)}</text>',
    ]
    for index, line in enumerate(node.lines):
        y = top + _PADDING + _TITLE + 11 + index * _LINE
        lines.append(f'<text x="{node.x - _BOX / 2 + 12:g}" y="{y:g}">{escape(line)}</text>')
    return lines


def _arrows(node: Node, layers: list[list[Node]], tops: dict[int, float], heights: list[float]) -> list[str]:
    """Draw the arrows that lead down from a node: a straight line to the end of its layer, then a curve."""
    lines = []
    layer_bottom = tops[node.layer] + heights[node.layer]
    bottom = tops[node.layer] + node.height if node.name else tops[node.layer]
    for other in node.below:
        begin = _port(node, other, node.below)
        end = _port(other, node, [upper for upper in layers[node.layer] if other in upper.below])
        top = tops[other.layer] - (5 if other.name else 0)
        half = (layer_bottom + top) / 2
        curve = f"C{begin:g} {half:g} {end:g} {half:g} {end:g} {top:g}"
        lines.append(f'<path class="arrow" d="M{begin:g} {bottom:g}V{layer_bottom:g}{curve}"/>')
        if other.name:
            lines.append(
                f'<path class="tip" d="M{end - 4:g} {top - 3:g}L{end:g} {top + 5:g}L{end + 4:g} {top - 3:g}z"/>'
            )
    return lines


def _port(node: Node, other: Node, others: list[Node]) -> float:
    """Return where the arrow between two nodes meets the first. Arrows are spread in the order of their ends."""
    if not node.name:
        return node.x
    index = sorted(others, key=lambda one: one.x).index(other)
    return node.x + (index - (len(others) - 1) / 2) * min(28, (_BOX - 40) / len(others))


def main(arguments: list[str]) -> str | int:
    """Write the picture, or with `--check` compare it with the file. Return the exit status or an error message."""
    if arguments not in ([], ["--check"]):
        return "usage: python docs/draw_packages.py [--check]"
    try:
        picture = draw(SOURCE)
    except CycleError as error:
        return f"packages import one another: {' -> '.join(error.args[1])}; imports must point one way"
    if arguments:
        current = PICTURE.is_file() and PICTURE.read_text() == picture
        return 0 if current else f"{PICTURE.name} is out of date: run make picture"
    PICTURE.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
