/** Bounds that keep any input from growing memory without end. */
export interface Limits {
  /**
   * The longest encoded message, in bytes of UTF-8, that is sent to or accepted from elsewhere.
   * @defaultValue 1_048_576
   */
  readonly maxMessageBytes: number;
  /**
   * How many channels one client connection may be subscribed to at a time.
   * @defaultValue 1_000
   */
  readonly maxSubscriptionsPerConnection: number;
  /**
   * How many client connections one server holds for one user at a time; nobody in particular is not counted.
   * @defaultValue 100
   */
  readonly maxConnectionsPerUser: number;
  /**
   * How many client connections one server holds at a time.
   * @defaultValue 100_000
   */
  readonly maxConnections: number;
}

export const DEFAULT_LIMITS: Limits = {
  maxMessageBytes: 1_048_576,
  maxSubscriptionsPerConnection: 1_000,
  maxConnectionsPerUser: 100,
  maxConnections: 100_000,
};

/** The length of a text in UTF-8, without encoding it; a lone surrogate counts as its replacement. */
function utf8Length(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) continue;
    if (unit < 0x800) {
      bytes += 1;
    } else {
      bytes += 2;
      const next = text.charCodeAt(index + 1);
      if (unit >= 0xd800 && unit <= 0xdbff && next >= 0xdc00 && next <= 0xdfff) index++;
    }
  }
  return bytes;
}

/** Whether a text is longer than so many bytes of UTF-8; looks at the characters only where its length leaves it open. */
export function exceedsBytes(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && utf8Length(text) > maxBytes;
}
