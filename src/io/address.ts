// Addresses as they may be shown: what stands in one besides host and path (a user's name and password, a signature, a key) is
// nobody's to read in a message or a log.

/** The address without user, password, query and fragment; also of text that is no address, as far as these can be told. */
export function shownAddress(address: string): string {
  if (URL.canParse(address)) {
    const { protocol, host, pathname } = new URL(address);
    return host === '' ? `${protocol}…` : `${protocol}//${host}${pathname}`.replace(/\/$/, '');
  }
  return address.replace(/[^/\s]*@/g, '').replace(/[?#].*$/s, '');
}

/** A text in which addresses may stand, with each as it may be shown. */
export function withShownAddresses(text: string): string {
  return text.replace(/\b[a-z][\w+.-]*:\/\/[^\s"'<>]+/gi, shownAddress);
}
