// Text inside XML and SVG: what rooms that write such pictures share. No drawing here.

/** Text as it stands between tags or in an attribute's double quotes. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
