import { Injectable } from '@nestjs/common';
import { Hub } from '../../core/hub.js';
import type { AuthenticationInfo } from '../../protocol/authentication.js';
import type { ChannelDefinition } from '../../protocol/channel.js';
import { checkSyntax, isTemplate, mostLiteral, quote, type TemplateMatch } from '../../protocol/channel-name.js';
import { declaredChannelNames, declaredChannels } from '../../protocol/declared-channels.js';
import type { ChannelAnswer } from '../../protocol/gateway.js';
import { classInfo, declaredClasses } from '../../protocol/serializable.js';
import { sourceOfChannel } from '../../protocol/source.js';
import { LoggingReporter } from '../logging-reporter.js';
import { AuthorizersByChannel, type Authorizer } from './authorizers-by-channel.js';
import type { ClientContext } from './authorize-channel.decorator.js';

/**
 * Which channels there are for clients, and for which client. Closed by default: a channel that is not declared
 * `clients: true` and has no authorizer does not exist for them.
 *
 * A name is decided about by the channel of exactly that name; where there is none, by the template that says most of
 * it literally. So a channel that is not for clients is not opened by a template that is.
 */
@Injectable()
export class ClientChannels {
  constructor(
    private readonly hub: Hub,
    private readonly authorizers: AuthorizersByChannel,
    private readonly reporter: LoggingReporter,
  ) {}

  /** Whether a client may subscribe to a channel, or to a template as a whole. Never rejects. */
  async decide(channel: string, auth: AuthenticationInfo | null, request: unknown): Promise<ChannelAnswer> {
    if (!isWellFormed(channel)) return { channel, error: 'INVALID_CHANNEL' };
    const client: ClientContext = { auth, channel, request };
    const matches = isTemplate(channel) ? [{ name: channel, params: {} }] : this.matchesOf(channel);
    const decisions = await Promise.all(matches.map((match) => this.allows(match, client)));
    const isAllowed = decisions.length > 0 && decisions.every(Boolean);
    return isAllowed ? { channel } : { channel, error: 'CHANNEL_DENIED' };
  }

  /** What decides about a name: the channel itself, or its most literal template; several if they are equally literal. */
  private matchesOf(channel: string): TemplateMatch[] {
    if (this.isKnown(channel)) return [{ name: channel, params: {} }];
    const names = new Set([...declaredChannelNames(), ...this.authorizers.names]);
    // What a source sends is defined by nobody; its name says it all.
    const source = sourceOfChannel(channel.split('/'));
    if (source !== undefined) names.add(source.template);
    return mostLiteral(names, channel);
  }

  private async allows({ name, params }: TemplateMatch, client: ClientContext): Promise<boolean> {
    const authorizers = this.authorizers.get(name);
    const definition = this.definitionFor(name);
    if (definition === 'unclear') return false;
    const relevant: readonly Authorizer[] = (isTemplate(client.channel) ? authorizers?.all : authorizers?.each) ?? [];
    const isForClients = relevant.length > 0 || (!isTemplate(client.channel) && this.isOpen(name, definition));
    if (!isForClients) return false;
    const { requiredScopes = [] } = definition?.options ?? {};
    if (!requiredScopes.every((scope) => client.auth?.scopes?.includes(scope) ?? false)) return false;
    for (const authorizer of relevant) {
      if (!(await authorizer(client, params))) return false;
    }
    return true;
  }

  private isOpen(name: string, definition: ChannelDefinition | undefined): boolean {
    const source = sourceOfChannel(name.split('/'));
    if (source === undefined) return definition?.options.clients === true;
    const classes = [...declaredClasses(source.type, 'source'), ...declaredClasses(source.type, 'data')];
    return classes.length > 0 && classes.every((target) => classInfo(target)?.clients === true);
  }

  private isKnown(name: string): boolean {
    return this.authorizers.get(name) !== undefined || this.definitionOf(name) !== undefined;
  }

  /** What is said of a name, or else of the template that it is of: one room with an authorizer of its own is still a room. */
  private definitionFor(name: string): ChannelDefinition | 'unclear' | undefined {
    const exact = this.definitionOf(name);
    if (exact !== undefined) return exact;
    const [template, ...equals] = mostLiteral(declaredChannelNames(), name);
    return equals.length > 0 ? 'unclear' : template && this.definitionOf(template.name);
  }

  /** What is said of a name: by this application, or, where it has not used it yet, by the one definition there is. */
  private definitionOf(name: string): ChannelDefinition | 'unclear' | undefined {
    const used = this.hub.definitionOf(name);
    if (used !== undefined) return used;
    const declared = declaredChannels(name);
    if (declared.length <= 1) return declared[0];
    this.reporter.warn(
      'unclear channel',
      `Channel ${quote(name)} is defined twice, in different ways; clients are denied it until it is defined once`,
    );
    return 'unclear';
  }
}

function isWellFormed(name: string): boolean {
  try {
    checkSyntax(name);
    return true;
  } catch {
    return false;
  }
}
