import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { ChannelGrant, ChannelRule } from './channel-rule.js';
import type { ClientConnection } from './client-connection.js';
import { MAX_NAMES, type ClientConnectionInfo } from './connection-order.js';
import type { Slices } from './slices.js';

/** The index of a rule as JSON, with the comma after it. So many bytes have room for fewer than 10,000 rules, or `null`. */
const INDEX_BYTES = 5;

interface Listed {
  readonly connection: ClientConnection;
  readonly auth: AuthenticationInfo | null;
  /** In the order of `channels`. */
  readonly grants: ChannelGrant[];
  moreChannels: number;
}

/**
 * Lists connections of this node within a number of bytes. A client chooses how many channels a connection has and how long their names
 * are, so each connection gets its place first. What is left is for their channels, in equal shares. No connection hides itself or others.
 */
export class BoundedList {
  private readonly listed: Listed[] = [];
  private readonly unfilled: Listed[] = [];
  private readonly rules = new Set<ChannelRule>();

  /** @param left - how many bytes of JSON it may have */
  constructor(private left: number) {}

  get size(): number {
    return this.listed.length;
  }

  /**
   * Lists a connection with as many of its channels as {@link finish} finds room for.
   *
   * @returns whether there was room for it
   */
  add(connection: ClientConnection): boolean {
    const listed = this.place(connection, this.left);
    if (listed !== undefined) this.unfilled.push(listed);
    return listed !== undefined;
  }

  /**
   * Lists a connection with one channel that it has.
   *
   * @returns whether there was room for both
   */
  addWith(connection: ClientConnection, channel: string): boolean {
    const grant = connection.grantFor(channel);
    const listed = this.place(connection, this.left - this.bytesFor(grant, connection.session.auth, 0));
    if (listed !== undefined) this.fill(listed, grant, this.left);
    return listed !== undefined;
  }

  /** Fills the room that is left with channels. */
  async finish(slices: Slices): Promise<ClientConnectionInfo[]> {
    const { unfilled } = this;
    // Those with the fewest come first: what they do not need is for the others.
    const counts = new Map(unfilled.map((listed) => [listed, listed.connection.names.length]));
    unfilled.sort((a, b) => counts.get(a)! - counts.get(b)!);
    for (const [index, listed] of unfilled.entries()) {
      while (slices.isOver) await slices.next();
      const { connection } = listed;
      const { names } = connection;
      let share = Math.floor(this.left / (unfilled.length - index));
      for (const name of names) {
        const bytes = this.fill(listed, connection.grantFor(name), share);
        if (bytes === 0) break;
        share -= bytes;
      }
      listed.moreChannels = names.length - listed.grants.length;
    }
    return this.listed.map(infoOf);
  }

  private place(connection: ClientConnection, room: number): Listed | undefined {
    const { auth } = connection.session;
    const empty = { channels: [], moreChannels: MAX_NAMES, rules: [], grantedTo: [] };
    const bytes = bytesOf({ connection: connection.id, auth, ...empty });
    if (bytes > room) return undefined;
    this.left -= bytes;
    const listed = { connection, auth, grants: [], moreChannels: 0 };
    this.listed.push(listed);
    return listed;
  }

  /** @returns the bytes that it takes; 0: it does not fit */
  private fill({ auth, grants }: Listed, grant: ChannelGrant, room: number): number {
    const bytes = this.bytesFor(grant, auth, grants.length);
    if (bytes > room) return 0;
    this.left -= bytes;
    if (grant.rule !== undefined) this.rules.add(grant.rule);
    grants.push(grant);
    return bytes;
  }

  private bytesFor({ channel, auth, rule }: ChannelGrant, own: AuthenticationInfo | null, index: number): number {
    const ofRule = rule === undefined || this.rules.has(rule) ? 0 : bytesOf(rule);
    return bytesOf(channel) + INDEX_BYTES + ofRule + (auth === own ? 0 : bytesOf([index, auth]));
  }
}

function infoOf({ connection, auth, grants, moreChannels }: Listed): ClientConnectionInfo {
  return {
    connection: connection.id,
    auth,
    channels: grants.map(({ channel }) => channel),
    ...(moreChannels > 0 && { moreChannels }),
    grants,
  };
}

/** The size as JSON, with the comma after it. */
function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) + 1;
}
