import { Injectable } from '@nestjs/common';
import { definedTwice } from '../../core/channel-definitions.js';
import { Hub } from '../../core/hub.js';
import type { TemplateMatch } from '../../core/known-templates.js';
import type { ChannelDecider } from '../../gateway/channel-decisions.js';
import type { ChannelRule } from '../../gateway/channel-rule.js';
import { DenialTimes } from '../../gateway/denial-times.js';
import type { AuthenticationInfo } from '../../protocol/authentication.js';
import type { ChannelDefinition } from '../../protocol/channel-definition.js';
import { checkSyntax, isTemplate } from '../../protocol/channel-name.js';
import type { SubscribeError } from '../../protocol/gateway.js';
import { declaredClasses } from '../../protocol/declared-classes.js';
import { classInfo } from '../../protocol/serializable.js';
import { sourceOfChannel } from '../../protocol/source.js';
import { LoggingReporter } from '../logging-reporter.js';
import { AuthorizersByChannel, type Authorizer } from './authorizers-by-channel.js';
import type { ClientContext } from './authorize-channel.decorator.js';
import { DenialHints } from './denial-hints.js';

/**
 * Which channels there are for clients, and for which client. Closed by default: a channel that is not declared
 * `clients: true` and has no authorizer does not exist for them.
 *
 * A name is decided about by the channel of exactly that name; if there is no such channel, by the template that says most of
 * it literally. So a channel that is not for clients is not opened by a template that is, nor is it part of that template
 * as a whole.
 */
@Injectable()
export class ClientChannels implements ChannelDecider {
  private readonly denials: DenialTimes;
  private readonly hints: DenialHints;

  constructor(
    private readonly hub: Hub,
    private readonly authorizers: AuthorizersByChannel,
    private readonly reporter: LoggingReporter,
  ) {
    this.denials = new DenialTimes(authorizers.timeoutMs);
    this.hints = new DenialHints(hub, reporter);
  }

  async decide(
    channel: string,
    auth: AuthenticationInfo | null,
    request: unknown,
  ): Promise<ChannelRule | SubscribeError> {
    const began = performance.now();
    const error = this.faultOf(channel);
    // The name alone shows this, so it needs neither a hint nor a delay.
    if (error === 'INVALID_CHANNEL') return error;
    if (error !== undefined) this.hints.explain(channel);
    const deciders = error === undefined ? this.decidersOf(channel) : [];
    const client: ClientContext = { auth, channel, request };
    const asked: string[] = [];
    const decisions = await Promise.all(deciders.map((decider) => this.ruleOf(decider, client, asked)));
    const rules = decisions.filter((rule) => rule !== undefined);
    if (deciders.length > 0 && rules.length === deciders.length) return together(rules);
    const [first] = asked;
    if (first === undefined) await this.denials.wait(channel);
    else this.denials.note(first, performance.now() - began);
    return 'CHANNEL_DENIED';
  }

  faultOf(channel: string): SubscribeError | undefined {
    if (!isWellFormed(channel)) return 'INVALID_CHANNEL';
    const deciders = this.decidersOf(channel);
    const isOffered = deciders.length > 0 && deciders.every(({ name }) => this.isForClients(name, channel));
    return isOffered ? undefined : 'CHANNEL_DENIED';
  }

  private decidersOf(channel: string): readonly TemplateMatch[] {
    const deciders = this.hub.definitions.decidersOf(channel);
    // All of a template can be had only of one that its channels are decided by.
    return isTemplate(channel) && !(deciders.length === 1 && deciders[0]!.name === channel) ? [] : deciders;
  }

  private isForClients(name: string, channel: string): boolean {
    const definition = this.hub.definitions.of(name);
    if (definition === 'unclear') {
      this.reporter.warn('unclear channel', `${definedTwice(name).message}; clients are denied it until then`);
      return false;
    }
    return this.authorizersFor(name, channel).length > 0 || (!isTemplate(channel) && this.isOpen(name, definition));
  }

  private authorizersFor(name: string, channel: string): readonly Authorizer[] {
    const authorizers = this.authorizers.get(name);
    return (isTemplate(channel) ? authorizers?.all : authorizers?.each) ?? [];
  }

  /**
   * @param asked - receives the name of each channel or template whose authorizers are asked
   * @returns `undefined` if the client is denied
   */
  private async ruleOf(
    { name, params }: TemplateMatch,
    client: ClientContext,
    asked: string[],
  ): Promise<ChannelRule | undefined> {
    const definition = this.hub.definitions.of(name);
    if (definition === 'unclear') return undefined;
    const { requiredScopes: scopes = [] } = definition?.options ?? {};
    if (!scopes.every((scope) => client.auth?.scopes?.includes(scope) ?? false)) return undefined;
    const authorizers: string[] = [];
    for (const { label, allows } of this.authorizersFor(name, client.channel)) {
      asked.push(name);
      if (!(await allows(client, params))) return undefined;
      authorizers.push(label);
    }
    return { names: [name], scopes, authorizers };
  }

  private isOpen(name: string, definition: ChannelDefinition | undefined): boolean {
    const source = sourceOfChannel(name.split('/'));
    if (source === undefined) return definition?.options.clients === true;
    const classes = [...declaredClasses(source.type, 'source'), ...declaredClasses(source.type, 'data')];
    return classes.length > 0 && classes.every((target) => classInfo(target)?.clients === true);
  }
}

/** The rule of a channel. Several equally literal templates may decide about it; then all of them had to agree. */
function together(rules: readonly ChannelRule[]): ChannelRule {
  if (rules.length === 1) return rules[0]!;
  return {
    names: rules.flatMap(({ names }) => names),
    scopes: [...new Set(rules.flatMap(({ scopes }) => scopes))],
    authorizers: rules.flatMap(({ authorizers }) => authorizers),
  };
}

function isWellFormed(name: string): boolean {
  try {
    checkSyntax(name);
    return true;
  } catch {
    return false;
  }
}
