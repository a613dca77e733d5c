import { Injectable, Optional, type OnApplicationBootstrap } from '@nestjs/common';
import { ExternalContextCreator } from '@nestjs/core';
import type { MessageContext } from '../core/message-context.js';
import { whenHeard } from '../core/heard.js';
import { Hub } from '../core/hub.js';
import { replayStart } from '../core/listen-options.js';
import type { Listener } from '../core/listener.js';
import { DecoratedMethods, type DecoratedMethod } from './decorated-methods.js';
import { LocalSessions } from './local-sessions.js';
import { MessagePipeline, type MessageCall } from './message-pipeline.js';
import { LoggingReporter } from './logging-reporter.js';
import { MessageRequest } from './message-request.js';
import { ObservableResults } from './observable-results.js';
import { handledBy, type Handled } from './on-message.decorator.js';
import { refuseUnclearClasses } from './refuse-unclear-classes.js';
import { startOrClose } from './start-or-close.js';
import { warnOfContradictions } from './warn-of-contradictions.js';
import { warnOfRenamedClasses } from './warn-of-renamed-classes.js';

/** Makes the methods decorated with `@OnMessage` listeners of the hub. */
@Injectable()
export class MessageHandlers implements OnApplicationBootstrap {
  private readonly pipeline: MessagePipeline;
  private readonly findNew: () => DecoratedMethod<Handled>[];

  constructor(
    private readonly hub: Hub,
    private readonly methods: DecoratedMethods,
    private readonly reporter: LoggingReporter,
    contextCreator: ExternalContextCreator,
    @Optional() private readonly local?: LocalSessions,
  ) {
    this.pipeline = new MessagePipeline(contextCreator, new ObservableResults(hub.root, reporter));
    this.findNew = methods.finder(handledBy);
  }

  /**
   * Resolves when the handlers hear other servers too, unless those cannot be reached.
   *
   * @throws ConfigurationError if channels or classes contradict each other
   */
  async onApplicationBootstrap(): Promise<void> {
    const listeners = await startOrClose(this.hub, () => this.discoverFirst());
    this.hub.release(listeners);
    this.methods.whenLoaded(() => this.attachNew());
    await whenHeard(this.hub, listeners);
  }

  private discoverFirst(): Listener[] {
    const listeners = this.discover();
    refuseUnclearClasses(this.hub.types, this.reporter);
    warnOfRenamedClasses(this.hub.types, this.reporter);
    warnOfContradictions(this.hub.definitions, this.reporter);
    return listeners;
  }

  private async attachNew(): Promise<void> {
    const listeners = this.discover();
    warnOfContradictions(this.hub.definitions, this.reporter);
    for (const listener of listeners) this.hub.attach(listener);
    await whenHeard(this.hub, listeners);
  }

  /** Prepared listeners for the handlers that were not there the last time. */
  private discover(): Listener[] {
    return this.findNew().flatMap((method) => {
      const call = method.isStatic ? this.staticCall(method) : this.scopedCall(method);
      return method.marks.map((handled) => this.listenerOf(handled, call, method.label));
    });
  }

  private listenerOf({ channel, place, replay }: Handled, call: MessageCall, label: string): Listener {
    const { hub } = this;
    const start = replayStart(hub, hub.heard(channel), replay, place);
    return hub.prepare(channel, call, hub.root, label, undefined, start);
  }

  private staticCall({ wrapper, method }: DecoratedMethod<unknown>): MessageCall {
    const call = this.pipeline.create(wrapper.instance as object, method, wrapper.id);
    const { local } = this;
    if (local === undefined) return call;
    // Code that a handler calls may ask for the session, which is the message's and ends with its handling.
    return (message, context) =>
      this.handle(message, context, (request) => local.run(request, () => call(message, context)));
  }

  /** An instance, and a session, for each message. */
  private scopedCall({ wrapper, method }: DecoratedMethod<unknown>): MessageCall {
    return (message, context) =>
      this.handle(message, context, async (request) => {
        const { instance, contextId } = await this.methods.instanceFor(wrapper, request);
        const call = () => this.pipeline.create(instance, method, wrapper.id, contextId)(message, context);
        return this.local === undefined ? call() : this.local.run(request, call);
      });
  }

  /** Handles one message as a request of its own, which ends when the handler has returned and its promise has settled. */
  private handle(message: unknown, context: MessageContext, call: (request: MessageRequest) => unknown): unknown {
    const request = new MessageRequest(message, context, this.hub.sessions);
    let result: unknown;
    try {
      result = call(request);
    } catch (error) {
      request.close();
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => request.close());
    request.close();
    return result;
  }
}
