/** A plot of grouped vertical bars as an SVG file: no script, no font of its own, light and dark alike. */
export interface BarPanel {
  readonly title: string;
  /** What the numbers are, at the axis. */
  readonly unit: string;
  readonly groups: readonly string[];
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
  /** A line across, to compare with. */
  readonly reference?: { readonly at: number; readonly label: string };
  readonly show: (value: number) => string;
}

const COLORS = ['#4878cf', '#e1812c', '#3a923a', '#845b97'];
const HEIGHT = 260;
const TOP = 56;
const BOTTOM = 96;
const LEFT = 64;
const MOST_LABELS = 40;

export function barPlot(panels: readonly BarPanel[]): string {
  const width = Math.max(640, ...panels.map((panel) => LEFT + 32 + panel.groups.length * Math.max(10, 14 * panel.series.length + 8)));
  const body = panels.map((panel, i) => `<g transform="translate(0 ${i * (HEIGHT + TOP + BOTTOM)})">${drawPanel(panel, width)}</g>`);
  const height = panels.length * (HEIGHT + TOP + BOTTOM);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12" role="img">
<title>${xmlEscape(panels.map(({ title }) => title).join('; '))}</title>
<rect width="${width}" height="${height}" fill="#fff"/>
${body.join('\n')}
</svg>
`;
}

function drawPanel({ title, unit, groups, series, reference, show }: BarPanel, width: number): string {
  const values = series.flatMap((one) => [...one.values]).filter(Number.isFinite);
  const top = niceCeiling(Math.max(...values, reference?.at ?? 0, 1e-9));
  const y = (value: number): number => TOP + HEIGHT - (HEIGHT * Math.min(value, top)) / top;
  const step = (width - LEFT - 24) / Math.max(1, groups.length);
  const barWidth = Math.min(40, (step * 0.8) / series.length);
  const parts = [`<text x="16" y="20" font-size="15" font-weight="bold">${xmlEscape(title)}</text>`];
  series.forEach(({ name }, s) => {
    const x = LEFT + 170 * s;
    parts.push(
      `<rect x="${x}" y="32" width="10" height="10" fill="${COLORS[s % COLORS.length]}"/><text x="${x + 15}" y="41">${xmlEscape(name)}</text>`,
    );
  });
  for (let tick = 0; tick <= 4; tick++) {
    const value = (top * tick) / 4;
    parts.push(
      `<line x1="${LEFT}" x2="${width - 24}" y1="${fix(y(value))}" y2="${fix(y(value))}" stroke="#ddd"/>`,
      `<text x="${LEFT - 6}" y="${fix(y(value) + 4)}" text-anchor="end" fill="#555">${xmlEscape(show(value))}</text>`,
    );
  }
  parts.push(
    `<text x="14" y="${TOP + HEIGHT / 2}" transform="rotate(-90 14 ${TOP + HEIGHT / 2})" text-anchor="middle" fill="#555">${xmlEscape(unit)}</text>`,
  );
  const labelEvery = Math.ceil(groups.length / MOST_LABELS);
  groups.forEach((group, g) => {
    const middle = LEFT + step * (g + 0.5);
    series.forEach((one, s) => {
      const value = one.values[g]!;
      if (!Number.isFinite(value)) return;
      const x = middle + (s - series.length / 2) * barWidth;
      parts.push(
        `<rect x="${fix(x)}" y="${fix(y(value))}" width="${fix(barWidth)}" height="${fix(TOP + HEIGHT - y(value))}" fill="${COLORS[s % COLORS.length]}"><title>${xmlEscape(`${group}, ${one.name}: ${show(value)}`)}</title></rect>`,
      );
    });
    if (g % labelEvery === 0)
      parts.push(
        `<text transform="translate(${fix(middle + 4)} ${TOP + HEIGHT + 14}) rotate(-35)" text-anchor="end">${xmlEscape(shorten(group))}</text>`,
      );
  });
  if (reference)
    parts.push(
      `<line x1="${LEFT}" x2="${width - 24}" y1="${fix(y(reference.at))}" y2="${fix(y(reference.at))}" stroke="#c22" stroke-dasharray="5 3"/>`,
      `<text x="${width - 24}" y="${fix(y(reference.at) - 5)}" text-anchor="end" fill="#c22">${xmlEscape(reference.label)}</text>`,
    );
  return parts.join('\n');
}

/** The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten. */
function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999999)!;
}

function shorten(text: string): string {
  return text.length > 22 ? `${text.slice(0, 21)}…` : text;
}

function fix(value: number): string {
  return value.toFixed(1);
}

function xmlEscape(text: string): string {
  return text.replace(/[&<>"]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[char]!);
}
