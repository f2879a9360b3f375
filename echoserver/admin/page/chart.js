// A curve of the last minutes, drawn as SVG. One point a second; the newest is at the right edge.

const KEPT = 300;
const LEAST = 60; // seconds that the width stands for, until there are more
const SVG = "http://www.w3.org/2000/svg";

export class Chart {
  constructor(parent, title, format) {
    this.points = [];
    this.format = format;
    const box = element("div", "chart", parent);
    const head = element("h2", "", box);
    element("span", "", head).textContent = title;
    this.now = element("b", "", head);
    this.svg = box.appendChild(document.createElementNS(SVG, "svg"));
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    const base = this.svg.appendChild(document.createElementNS(SVG, "line"));
    for (const [name, value] of [["x1", 0], ["x2", "100%"], ["y1", 100], ["y2", 100]]) base.setAttribute(name, value);
    this.mark = this.svg.appendChild(document.createElementNS(SVG, "line"));
    this.path = this.svg.appendChild(document.createElementNS(SVG, "path"));
    const scale = element("div", "scale", box);
    this.span = element("span", "", scale);
    this.most = element("span", "", scale);
    this.hovered = null;
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerleave", () => { this.hovered = null; this.draw(); });
    this.title = title;
  }

  get width() {
    return Math.max(LEAST, this.points.length);
  }

  add(value) {
    this.points.push(value);
    if (this.points.length > KEPT) this.points.shift();
    this.draw();
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect();
    const at = Math.round(((event.clientX - box.left) / box.width) * (this.width - 1)) - (this.width - this.points.length);
    this.hovered = Math.max(0, Math.min(this.points.length - 1, at));
    this.draw();
  }

  draw() {
    if (!this.points.length) return;
    const most = Math.max(...this.points) || 1;
    const first = this.width - this.points.length;
    this.svg.setAttribute("viewBox", `0 0 ${this.width - 1} 100`);
    const place = (value, index) => `${first + index},${(100 - (value / most) * 96).toFixed(1)}`;
    this.path.setAttribute("d", `M${this.points.map(place).join("L")}`);
    const shown = this.hovered ?? this.points.length - 1;
    const ago = this.points.length - 1 - shown;
    this.now.textContent = this.format(this.points[shown]);
    this.span.textContent = ago ? `${ago} s ago` : `last ${this.points.length} s`;
    this.most.textContent = `at most ${this.format(Math.max(...this.points))}`;
    this.svg.setAttribute("aria-label", `${this.title}: ${this.now.textContent}, ${this.most.textContent}`);
    const x = this.hovered === null ? -1 : first + shown;
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", 0], ["y2", x < 0 ? 0 : 100]]) this.mark.setAttribute(name, value);
  }
}

export function element(name, className, parent) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (parent) parent.append(made);
  return made;
}
