import { median } from './statistics.js';
import { curvesOf, type Table } from './table.js';

const COLOURS = ['#4269d0', '#c77800', '#e0443e', '#1f9e8f', '#3f9b3f', '#d3589e', '#8a5cd0', '#9c6b4e'];
const STYLE =
  '.page{fill:#fff}text{fill:#1f2328}line{stroke:#d1d9e0}' +
  '@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}line{stroke:#3d444d}}';
// The space of a character of 12 pixels, and of a line of them, in the fonts of most systems.
const CHARACTER = 6.8;
const LINE = 16;
const [LEFT, RIGHT, TOP, BOTTOM] = [70, 550, 62, 342];

/** A table as a picture in SVG: curves if it has them, else bars. Readable on light and on dark pages. */
export function plotOf(table: Table): string {
  return table.along === undefined ? bars(table) : curves(table, table.along);
}

/** The name of the file for a table's picture. */
export function plotFile(table: Table): string {
  return `${headOf(table)
    .toLowerCase()
    .replaceAll(/[^a-z\d]+/g, '-')}.svg`;
}

function curves(table: Table, along: string): string {
  const lines = curvesOf(table);
  const all = lines.flatMap(({ points }) => points);
  const ats = [...new Set(all.map(({ at }) => at))].toSorted((a, b) => a - b);
  const xOf = scale(Math.log(ats[0]!), Math.log(ats.at(-1)!), LEFT, RIGHT);
  const { ticks, yOf } = yAxis(all.map(({ value }) => value));
  const labels = apart(lines.map(({ points }) => yOf(points.at(-1)!.value)));
  const width = RIGHT + 24 + widthOf(lines.map(({ name }) => name));
  return svg(table, width, Math.max(BOTTOM + 46, ...labels.map((y) => y + LINE)), [
    ...ticks.map((tick) => `<line x1="${LEFT}" x2="${RIGHT}" y1="${yOf(tick)}" y2="${yOf(tick)}"/>`),
    ...ticks.map((tick) => text(LEFT - 8, yOf(tick) + 4, short(tick), 'end')),
    ...ats.map((at) => text(xOf(Math.log(at)), BOTTOM + 18, short(at), 'middle')),
    text((LEFT + RIGHT) / 2, BOTTOM + 38, along, 'middle'),
    ...lines.flatMap(({ name, points }, index) => {
      const colour = COLOURS[index % COLOURS.length]!;
      const spots = points.map(({ at, value }) => ({ x: xOf(Math.log(at)), y: yOf(value) }));
      const { x, y } = spots.at(-1)!;
      return [
        `<path d="M${spots.map((spot) => `${spot.x} ${spot.y}`).join('L')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
        ...spots.map((spot) => `<circle cx="${spot.x}" cy="${spot.y}" r="3" fill="${colour}"/>`),
        `<path d="M${x} ${y}L${RIGHT + 12} ${labels[index]}" stroke="${colour}" stroke-opacity=".4"/>`,
        text(RIGHT + 16, labels[index]! + 4, name, 'start', colour),
      ];
    }),
  ]);
}

function bars(table: Table): string {
  const rows = table.rows.map(({ name, samples }, index) => ({
    name,
    value: median(samples),
    y: TOP + 10 + index * 24,
  }));
  const left = 24 + widthOf(rows.map(({ name }) => name));
  const lengthOf = scale(0, Math.max(...rows.map(({ value }) => value)), 1, 420);
  return svg(table, left + 480, TOP + rows.length * 24 + 14, [
    ...rows.flatMap(({ name, value, y }) => [
      text(left - 8, y + 4, name, 'end'),
      `<rect x="${left}" y="${y - 8}" width="${lengthOf(value)}" height="16" fill="${COLOURS[name.startsWith('messaging') ? 1 : 0]}"/>`,
      text(left + lengthOf(value) + 6, y + 4, short(value), 'start'),
    ]),
  ]);
}

/** From zero if the values have one order of magnitude, else logarithmic. */
function yAxis(values: readonly number[]) {
  const most = Math.max(...values);
  const least = Math.min(...values.filter((value) => value > 0));
  if (most / least < 30) {
    const power = 10 ** Math.floor(Math.log10(most / 4));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => most / each <= 6)!;
    const ticks = Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
    return { ticks, yOf: scale(0, ticks.at(-1)!, BOTTOM, TOP) };
  }
  const [low, high] = [Math.floor(Math.log10(least)), Math.ceil(Math.log10(most))];
  const yOf = scale(low, high, BOTTOM, TOP);
  return {
    ticks: Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index)),
    yOf: (value: number) => yOf(Math.log10(Math.max(value, 10 ** low))),
  };
}

/** The places of labels that would overlap beside the ends of their lines. */
function apart(ys: readonly number[]): number[] {
  const places = [...ys];
  let free = -Infinity;
  for (const index of [...ys.keys()].toSorted((a, b) => ys[a]! - ys[b]!)) {
    places[index] = Math.max(ys[index]!, free);
    free = places[index] + LINE;
  }
  return places;
}

function scale(from: number, to: number, start: number, end: number): (value: number) => number {
  return (value) => Math.round((start + ((value - from) / (to - from || 1)) * (end - start)) * 10) / 10;
}

function svg(table: Table, width: number, height: number, parts: readonly string[]): string {
  const size = `width="${Math.ceil(width)}" height="${Math.ceil(height)}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="system-ui, sans-serif" font-size="12">`,
    `<style>${STYLE}</style><rect class="page" width="100%" height="100%"/>`,
    `<text x="16" y="24" font-size="15" font-weight="600">${escape(headOf(table))}</text>`,
    text(16, 44, table.unit, 'start'),
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end', colour?: string): string {
  const style = colour === undefined ? '' : ` style="fill:${colour}"`;
  return `<text x="${x}" y="${y}" text-anchor="${anchor}"${style}>${escape(content)}</text>`;
}

/** Without the places of the processes. */
function headOf({ title }: Table): string {
  return title.split(';', 1)[0]!;
}

function widthOf(labels: readonly string[]): number {
  return Math.max(...labels.map(({ length }) => length)) * CHARACTER;
}

function short(value: number): string {
  return value < 1_000 ? String(Number(value.toPrecision(3))) : `${Number((value / 1_000).toPrecision(3))}k`;
}

function escape(content: string): string {
  return content.replaceAll(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
}
