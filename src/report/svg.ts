// What every picture here has in common: an SVG document in one style for light and dark pages, colours, scales with ticks at round
// numbers, a legend. No kind of picture is drawn here, and nothing is known of what is shown.

/** Text as it stands between tags or in an attribute's double quotes. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The colours of lines and bars, in this order; dark pages brighten them. */
export const palette = ['#2f6fdb', '#d9480f', '#2b8a3e', '#9c36b5', '#c2900c', '#0c8599', '#c2255c', '#6b7280'] as const;

const style = `
.bg{fill:#ffffff}text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#4b5563}
.title{font-size:16px;font-weight:600;fill:#111827}.head{font-size:13px;font-weight:600;fill:#111827}.small{font-size:11px;fill:#6b7280}
.grid{stroke:#e5e7eb;stroke-width:1}.axis{stroke:#9ca3af;stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.faint{stroke-width:1;opacity:.3}.dotted{stroke-dasharray:5 4}.error{fill:none;stroke:#111827;stroke-width:1.2}
.mark{stroke:#f97316;stroke-dasharray:4 3}.said{fill:#ea580c}
@media (prefers-color-scheme:dark){.bg{fill:#111418}text{fill:#a3acb9}.title,.head{fill:#f3f4f6}.small{fill:#8b95a3}
.grid{stroke:#262b33}.axis{stroke:#596273}.error{stroke:#f9fafb}.said{fill:#fb923c}.data{filter:brightness(1.25)}}`;

/** A document of `width` by `height` units with its title at `left`; what shows data has the class `data`. */
export function svgDocument(
  { title, width, height, left }: { title: string; width: number; height: number; left: number },
  body: readonly string[],
): string {
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeXml(title)}">`,
    `<style>${style}</style><rect class="bg" width="100%" height="100%" rx="6"/>`,
    `<text class="title" x="${left}" y="28">${escapeXml(title)}</text>`,
    ...body,
    '</svg>',
  ].join('\n')}\n`;
}

/** Names with their colours in as many rows as `room` asks for, letters taken to be 7 wide; keys are `thick` units high. */
export function legendOf(names: readonly string[], room: number, thick: number): { body: string; height: number } {
  let [x, y] = [0, 0];
  const items = names.map((name, i) => {
    const size = 34 + name.length * 7;
    if (x > 0 && x + size > room) [x, y] = [0, y + 20];
    const key = `<rect class="data" x="${x}" y="${y + 1 - thick / 2}" width="18" height="${thick}" rx="2" fill="${colourOf(i)}"/>`;
    const item = `${key}<text x="${x + 24}" y="${y + 5}">${escapeXml(name)}</text>`;
    x += size;
    return item;
  });
  return { body: items.join(''), height: names.length > 0 ? y + 20 : 0 };
}

/** The colour of the nth line or series. */
export function colourOf(index: number): string {
  return palette[index % palette.length];
}

/** From data to places, with the values that ticks stand at. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

interface ScaleOptions {
  /** About how many ticks, at 1, 2 or 5 times a power of ten. */
  readonly count: number;
  /** Ends the axis at ticks. */
  readonly widen?: boolean;
  /** The closest that ticks may stand: 1 for numbers of things. */
  readonly least?: number;
}

export function linearScale(
  [first, last]: readonly [number, number],
  from: number,
  to: number,
  { count, widen = false, least = 0 }: ScaleOptions,
): Scale {
  let [low, high] = first < last ? [first, last] : [first - Math.abs(first) / 2 - 0.5, last + Math.abs(last) / 2 + 0.5];
  const step = Math.max(least, roundStep((high - low) / count));
  if (widen) [low, high] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return { at: (value) => tenths(from + ((value - low) / (high - low)) * (to - from)), ticks };
}

function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5, 10].find((step) => step * power >= least * 0.999) ?? 10);
}

export function logScale([low, high]: readonly [number, number], from: number, to: number): Scale {
  const [start, end] = low < high ? [Math.log10(low), Math.log10(high)] : [Math.log10(low) - 0.3, Math.log10(low) + 0.3];
  const within: number[] = [];
  for (let power = Math.floor(start); power <= end; power++) {
    for (let digit = 1; digit < 10; digit++) {
      const tick = digit * 10 ** power;
      if (Math.log10(tick) >= start - 1e-9 && Math.log10(tick) <= end + 1e-9) within.push(tick);
    }
  }
  const kept = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1]].map((digits) =>
    within.filter((tick) => digits.includes(leadingDigit(tick))),
  );
  const ticks = kept.find(({ length }) => length <= 8) ?? kept[2];
  return { at: (value) => tenths(from + ((Math.log10(value) - start) / (end - start)) * (to - from)), ticks };
}

function leadingDigit(value: number): number {
  return Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
}

/** Lines across at the ticks of an upright scale, with their values (and `unit`) to the left. */
export function gridOf({ at, ticks }: Scale, left: number, right: number, unit = ''): string[] {
  return ticks.map((tick) => {
    const y = at(tick);
    return `<line class="grid" x1="${left}" x2="${right}" y1="${y}" y2="${y}"/><text x="${left - 8}" y="${tenths(y + 4)}" text-anchor="end">${tickText(tick)}${unit}</text>`;
  });
}

/** `0.05`, `1.5k`, `20M`, `5e-4`. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size < 1e-12) return '0';
  if (size < 1e-2) return Number(value.toPrecision(3)).toExponential();
  if (size < 1e3) return String(Number(value.toPrecision(4)));
  const [unit, name] = size >= 1e9 ? [1e9, 'G'] : size >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
  return `${Number((value / unit).toPrecision(4))}${name}`;
}

/** A place in the picture, to a tenth of a unit. */
export function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}
