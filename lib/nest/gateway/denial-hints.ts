import type { Hub } from '../../core/hub.js';
import { isTemplate, quote } from '../../protocol/channel-name.js';
import type { LoggingReporter } from '../logging-reporter.js';

/** How many names are explained. There is a limit because clients choose them. */
const MAX_EXPLAINED = 4;

/**
 * Logs why the application offers a requested channel to no client: clients never learn it, and developers cannot see it
 * otherwise. It logs each name once, and only a few names. It logs nothing in production, where strangers may ask for any name.
 */
export class DenialHints {
  private readonly explained = new Set<string>();

  constructor(
    private readonly hub: Hub,
    private readonly reporter: LoggingReporter,
  ) {}

  /** @param channel - a name that no definition and no authorizer offers to clients */
  explain(channel: string): void {
    const { explained } = this;
    if (explained.size >= MAX_EXPLAINED || explained.has(channel) || process.env['NODE_ENV'] === 'production') return;
    explained.add(channel);
    const reason = this.reasonOf(channel);
    if (reason === undefined) return;
    this.reporter.warn(
      'channel not offered',
      `A client was denied channel ${quote(channel)}: ${reason} (this is not logged in production)`,
    );
  }

  /** @returns `undefined` if the reason is reported elsewhere */
  private reasonOf(channel: string): string | undefined {
    const { definitions } = this.hub;
    if (definitions.of(channel) === 'unclear') return undefined;
    const [decider, ...others] = definitions.decidersOf(channel).map(({ name }) => quote(name));
    if (decider === undefined) return 'nothing on this server defines a channel or template of this name';
    if (isTemplate(channel)) return 'a whole template needs a method with @AuthorizeChannel(template, { all: true })';
    if (others.length > 0)
      return `${[decider, ...others].join(' and ')} decide about it, and clients are not allowed all of them`;
    return `${decider} is defined without "clients: true", and no @AuthorizeChannel method decides about it`;
  }
}
