import { RESERVED_PREFIX } from '../protocol/channel-name.js';
import { TransportUnavailableError } from '../protocol/errors.js';

/** On a Cluster, each server without sharded channels is subscribed to this channel. Nothing is posted on it. */
export const CLASSIC = `${RESERVED_PREFIX}classic`;

/** A server that was not found for this long, in milliseconds, counts as gone. */
const FORGET_MS = 30_000;

/** Checks that all servers with this prefix on a Cluster use the same setting of `sharded`; otherwise they would not hear each other. */
export class RedisAgreement {
  /** The error, if another server has another setting. */
  problem: TransportUnavailableError | undefined = undefined;
  private timer: NodeJS.Timeout | undefined = undefined;

  /**
   * @param isSharded - the setting of this server
   * @param changed - called when `problem` has changed
   */
  constructor(
    private readonly isSharded: boolean,
    private readonly changed: () => void,
  ) {}

  /** A server with the other setting was found. */
  broken(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.forget, FORGET_MS).unref();
    if (this.problem !== undefined) return;
    const [here, there] = this.isSharded ? ['true', 'false'] : ['false', 'true'];
    this.problem = new TransportUnavailableError(
      `Another server of this prefix has "redis.sharded: ${there}", this one ${here}: they do not hear each other; ` +
        'give all of them the same setting',
    );
    this.changed();
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private readonly forget = (): void => {
    this.problem = undefined;
    this.changed();
  };
}
