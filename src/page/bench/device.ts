// What this browser and this device call themselves; enough to tell two measurements apart.

/** As `Chrome 140`; browsers that pretend to be others are found before those. */
export function browserName(): string {
  const agent = navigator.userAgent;
  const known: readonly [name: string, version: RegExp][] = [
    ['Edge', /Edg\w*\/(\d+)/],
    ['Opera', /OPR\/(\d+)/],
    ['Samsung Internet', /SamsungBrowser\/(\d+)/],
    ['Firefox', /(?:Firefox|FxiOS)\/(\d+)/],
    ['Chrome', /(?:HeadlessChrome|Chrome|CriOS)\/(\d+)/],
    ['Safari', /Version\/(\d+(?:\.\d+)?).*Safari/],
  ];
  for (const [name, version] of known) {
    const found = version.exec(agent);
    if (found) return `${name} ${found[1]}`;
  }
  return 'a browser';
}

export function deviceName(): string {
  const agent = navigator.userAgent;
  const known: readonly [name: string, sign: RegExp][] = [
    ['iPhone', /iPhone/],
    ['iPad', /iPad/],
    ['Android', /Android/],
    ['Windows', /Windows/],
    ['macOS', /Mac OS X/],
    ['ChromeOS', /CrOS/],
    ['Linux', /Linux/],
  ];
  return known.find(([, sign]) => sign.test(agent))?.[0] ?? 'a device';
}
