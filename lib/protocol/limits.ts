/** Bounds that keep any input from growing memory without end. */
export interface Limits {
  /**
   * The longest encoded message to or from another server, in bytes of UTF-8.
   * @defaultValue 1_048_576
   */
  readonly maxMessageBytes: number;
  /**
   * How many channels one client connection may be subscribed to at a time.
   * @defaultValue 1_000
   */
  readonly maxSubscriptionsPerConnection: number;
  /**
   * How many channels one request of a client may name: to subscribe to, to leave, and to replay, all together. At most
   * 100,000.
   * @defaultValue 10_000
   */
  readonly maxNamesPerRequest: number;
  /**
   * The longest body of a client's request, in bytes of JSON. The application's own limit on bodies applies first.
   * @defaultValue 262_144
   */
  readonly maxRequestBytes: number;
  /**
   * How many streams one server holds at a time: of the gateway, and of `@Sse()`.
   * @defaultValue 100_000
   */
  readonly maxConnections: number;
  /**
   * How many of these streams may be of one user.
   * @defaultValue 100
   */
  readonly maxConnectionsPerUser: number;
  /**
   * How many of these streams may come from one address. An IPv6 /64 counts as one address. Loopback and private addresses count only
   * if a trusted proxy names them.
   * @defaultValue 5_000
   */
  readonly maxConnectionsPerAddress: number;
  /**
   * How many of these streams may be anonymous, so that there is room for users.
   * @defaultValue 80_000, four fifths of `maxConnections`
   */
  readonly maxAnonymousConnections: number;
  /**
   * How many streams one user may open in a second, on average over ten.
   * @defaultValue 50, or a tenth of `maxConnectionsPerUser` if that is more
   */
  readonly maxOpensPerSecondPerUser: number;
  /**
   * How many streams one address may open in a second, on average over ten.
   * @defaultValue 500, or a tenth of `maxConnectionsPerAddress` if that is more
   */
  readonly maxOpensPerSecondPerAddress: number;
  /**
   * How many changes one client connection may make in a second, on average over ten.
   * @defaultValue 100
   */
  readonly maxChangesPerSecondPerConnection: number;
  /**
   * How many changes one address may make in a second, on average over ten.
   * @defaultValue 2_000
   */
  readonly maxChangesPerSecondPerAddress: number;
  /**
   * How many requests of one user may ask for missed or earlier messages in a second, on average over ten.
   * @defaultValue 50, or a tenth of `maxConnectionsPerUser` if that is more
   */
  readonly maxRecoveriesPerSecondPerUser: number;
  /**
   * How many requests from one address may ask for missed or earlier messages in a second, on average over ten.
   * @defaultValue 500, or a tenth of `maxConnectionsPerAddress` if that is more
   */
  readonly maxRecoveriesPerSecondPerAddress: number;
}

/** Some of the {@link Limits}. */
export type LimitOptions = { readonly [Name in keyof Limits]?: Limits[Name] | undefined };

/** Fills in the defaults. Some follow from other limits, because all open connections may come back at once. */
export function resolveLimits(given: LimitOptions = {}): Limits {
  const { maxConnections = 100_000, maxConnectionsPerUser = 100, maxConnectionsPerAddress = 5_000 } = given;
  const perUser = Math.max(50, Math.ceil(maxConnectionsPerUser / 10));
  const perAddress = Math.max(500, Math.ceil(maxConnectionsPerAddress / 10));
  return {
    maxMessageBytes: given.maxMessageBytes ?? 1_048_576,
    maxSubscriptionsPerConnection: given.maxSubscriptionsPerConnection ?? 1_000,
    maxNamesPerRequest: given.maxNamesPerRequest ?? 10_000,
    maxRequestBytes: given.maxRequestBytes ?? 262_144,
    maxConnections,
    maxConnectionsPerUser,
    maxConnectionsPerAddress,
    maxAnonymousConnections: given.maxAnonymousConnections ?? Math.ceil(maxConnections * 0.8),
    maxOpensPerSecondPerUser: given.maxOpensPerSecondPerUser ?? perUser,
    maxOpensPerSecondPerAddress: given.maxOpensPerSecondPerAddress ?? perAddress,
    maxChangesPerSecondPerConnection: given.maxChangesPerSecondPerConnection ?? 100,
    maxChangesPerSecondPerAddress: given.maxChangesPerSecondPerAddress ?? 2_000,
    maxRecoveriesPerSecondPerUser: given.maxRecoveriesPerSecondPerUser ?? perUser,
    maxRecoveriesPerSecondPerAddress: given.maxRecoveriesPerSecondPerAddress ?? perAddress,
  };
}

export const DEFAULT_LIMITS: Limits = resolveLimits();

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
