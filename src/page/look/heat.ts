// A matrix as a picture: a pixel a cell, from the colour of cards (0) to the accent (1), both of the theme; stretched by CSS.

export interface Heat extends HTMLCanvasElement {
  /** Column and row at a pointer. */
  cell(event: PointerEvent): [x: number, y: number];
}

export function heat(className: string): Heat {
  const canvas = document.createElement('canvas') as Heat;
  canvas.className = `heat ${className}`;
  canvas.setAttribute('role', 'img');
  canvas.cell = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const at = (place: number, size: number, count: number): number =>
      Math.min(count - 1, Math.max(0, Math.floor((place / size) * count)));
    return [at(clientX - left, width, canvas.width), at(clientY - top, height, canvas.height)];
  };
  return canvas;
}

/** `value` from 0 to 1; undefined: nothing there. */
export function drawHeat(canvas: Heat, columns: number, rows: number, value: (x: number, y: number) => number | undefined): void {
  Object.assign(canvas, { width: columns, height: rows });
  const [low, high] = coloursOf(canvas);
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(columns, rows);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const share = value(x, y);
      if (share === undefined) continue;
      const at = 4 * (y * columns + x);
      for (let c = 0; c < 3; c++) image.data[at + c] = low[c] + share * (high[c] - low[c]);
      image.data[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** As look.css gives them to a canvas; one that is not in the page yet takes the page's. */
function coloursOf(canvas: HTMLCanvasElement): number[][] {
  const probe = document.createElement('i');
  probe.className = 'heat';
  (canvas.isConnected ? canvas.parentElement! : document.body).append(probe);
  const { backgroundColor, color } = getComputedStyle(probe);
  probe.remove();
  return [backgroundColor, color].map((text) => (text.match(/[\d.]+/g) ?? []).map(Number));
}
