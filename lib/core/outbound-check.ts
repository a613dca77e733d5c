import { inTime } from './in-time.js';
import type { Reporter } from './reporter.js';
import type { BeforePosts } from './transport.js';

/** How long posts wait for the check at most, in milliseconds. They then go out without it, which is told. */
const PATIENCE_MS = 5_000;

/**
 * What has to be done before posts go out over a link that has come up: the broker may have lost what other nodes must know before
 * they deliver these posts. The transport holds them until {@link run} resolves; see {@link BeforePosts}.
 */
export class OutboundCheck implements BeforePosts {
  private check: (() => Promise<void>) | undefined = undefined;

  /** @param except - the channel to whose history the check appends */
  constructor(
    readonly except: string,
    private readonly reporter: Reporter,
  ) {}

  /** @param check - must not reject */
  guard(check: () => Promise<void>): void {
    this.check = check;
  }

  async run(): Promise<void> {
    if (this.check === undefined) return;
    const late = (): void => {
      const text =
        `Posts go out although it is not known after ${PATIENCE_MS / 1_000} s whether Redis has the revocations of this server. ` +
        'A server that has missed one of them may deliver these posts to the client that it ends';
      this.reporter.warn?.('posts before revocations', text);
    };
    await inTime(this.check(), PATIENCE_MS, late, { unref: true });
  }
}
