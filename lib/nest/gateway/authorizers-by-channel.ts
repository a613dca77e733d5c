import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Hub } from '../../core/hub.js';
import { describe, quote } from '../../protocol/channel-name.js';
import { DecoratedMethods, type DecoratedMethod } from '../decorated-methods.js';
import { errorText } from '../log-text.js';
import { LoggingReporter } from '../logging-reporter.js';
import { startOrClose } from '../start-or-close.js';
import { AuthorizerCalls } from '../../gateway/authorizer-calls.js';
import { GATEWAY_DEFAULTS as DEFAULTS, GATEWAY_OPTIONS, type GatewayOptions } from './gateway-options.js';
import { authorizationsOf, type Authorization, type ClientContext } from './authorize-channel.decorator.js';

type Params = Readonly<Record<string, string>>;

/** Decides whether a client may have a channel. */
export interface Authorizer {
  /** `Class.method`. */
  readonly label: string;
  readonly allows: (client: ClientContext, params: Params) => Promise<boolean>;
}

/** The authorizers of one channel or template. */
interface ChannelAuthorizers {
  readonly each: Authorizer[];
  readonly all: Authorizer[];
}

/** The methods decorated with `@AuthorizeChannel`, by the channel or template that they decide about. */
@Injectable()
export class AuthorizersByChannel implements OnApplicationBootstrap {
  /** How long one of them may take, in milliseconds. */
  readonly timeoutMs: number;
  private readonly byName = new Map<string, ChannelAuthorizers>();
  private readonly findNew: () => DecoratedMethod<Authorization>[];
  private readonly calls: AuthorizerCalls;

  constructor(
    private readonly methods: DecoratedMethods,
    private readonly reporter: LoggingReporter,
    private readonly hub: Hub,
    @Inject(GATEWAY_OPTIONS)
    { maxAuthorizers = DEFAULTS.maxAuthorizers, authorizerTimeoutMs = DEFAULTS.authorizerTimeoutMs }: GatewayOptions,
  ) {
    this.timeoutMs = authorizerTimeoutMs;
    this.findNew = methods.finder(authorizationsOf);
    this.calls = new AuthorizerCalls({ maxAtOnce: maxAuthorizers, timeoutMs: authorizerTimeoutMs });
  }

  /** @throws ConfigurationError if channels contradict each other */
  async onApplicationBootstrap(): Promise<void> {
    await startOrClose(this.hub, () => this.discover());
    this.methods.whenLoaded(async () => this.discover());
  }

  get(name: string): ChannelAuthorizers | undefined {
    return this.byName.get(name);
  }

  private discover(): void {
    for (const method of this.findNew()) {
      for (const { channel: channelOf, all } of method.marks) {
        // Checked like a listener's channel: the scopes of a definition that contradicts one in use would have no effect.
        const { channel: name } = this.hub.heard(channelOf());
        let authorizers = this.byName.get(name);
        if (authorizers === undefined) {
          this.byName.set(name, (authorizers = { each: [], all: [] }));
          this.hub.definitions.rule(name);
        }
        authorizers[all ? 'all' : 'each'].push({
          label: method.label,
          allows: (client, params) => this.ask(method, client, params),
        });
      }
    }
  }

  private async ask(method: DecoratedMethod<unknown>, client: ClientContext, params: Params): Promise<boolean> {
    const { label } = method;
    try {
      const decision = await this.calls.run(() => this.call(method, client, params));
      if (typeof decision === 'boolean') return decision;
      this.reporter.warn(
        `authorizer ${label} gave`,
        `${label} must return true or false, not ${describe(decision)}; the client was denied`,
      );
    } catch (error) {
      this.reporter.warn(
        `authorizer ${label} failed`,
        `${label} failed; client denied channel ${quote(client.channel)}: ${errorText(error)}`,
      );
    }
    return false;
  }

  private async call(
    { wrapper, method, isStatic }: DecoratedMethod<unknown>,
    client: ClientContext,
    params: Params,
  ): Promise<unknown> {
    const instance = isStatic
      ? (wrapper.instance as object)
      : (await this.methods.instanceFor(wrapper, client.request as object)).instance;
    const decide = (instance as Record<string, (client: ClientContext, params: Params) => unknown>)[method]!;
    return decide.call(instance, client, params);
  }
}
