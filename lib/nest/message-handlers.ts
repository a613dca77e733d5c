import { Injectable, Optional, type OnApplicationBootstrap } from '@nestjs/common';
import {
  ContextIdFactory,
  DiscoveryService,
  ExternalContextCreator,
  LazyModuleLoader,
  MetadataScanner,
  ModuleRef,
} from '@nestjs/core';
import { Injector } from '@nestjs/core/injector/injector.js';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import type { MessageContext } from '../core/delivery.js';
import { whenHeard } from '../core/heard.js';
import { Hub } from '../core/hub.js';
import type { Listener } from '../core/listener.js';
import { LocalSessions } from './local-sessions.js';
import { MessagePipeline, type MessageCall } from './message-pipeline.js';
import { MessageRequest } from './message-request.js';
import { channelsOf } from './on-message.decorator.js';

/** Finds the methods decorated with `@OnMessage` and makes them listeners of the hub. */
@Injectable()
export class MessageHandlers implements OnApplicationBootstrap {
  private readonly pipeline: MessagePipeline;
  private readonly injector = new Injector();
  private readonly visited = new WeakSet<object>();

  constructor(
    private readonly hub: Hub,
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly lazyModules: LazyModuleLoader,
    private readonly moduleRef: ModuleRef,
    contextCreator: ExternalContextCreator,
    @Optional() private readonly local?: LocalSessions,
  ) {
    this.pipeline = new MessagePipeline(contextCreator);
  }

  /** Resolves when the handlers hear other servers too, unless those cannot be reached. */
  async onApplicationBootstrap(): Promise<void> {
    const listeners = this.discover();
    this.hub.release(listeners);
    this.followLazyModules();
    await whenHeard(this.hub, listeners);
  }

  /** Nest has no hook for a module loaded later; this application's loader is the one place all of them pass. */
  private followLazyModules(): void {
    const load = this.lazyModules.load.bind(this.lazyModules);
    this.lazyModules.load = async (...args) => {
      const moduleRef = await load(...args);
      const listeners = this.discover();
      for (const listener of listeners) this.hub.attach(listener);
      await whenHeard(this.hub, listeners);
      return moduleRef;
    };
  }

  /** Prepared listeners for the handlers that were not there the last time. */
  private discover(): Listener[] {
    const wrappers = [...this.discovery.getProviders(), ...this.discovery.getControllers()];
    return wrappers.flatMap((wrapper) => this.listenersOf(wrapper));
  }

  private listenersOf(wrapper: InstanceWrapper): Listener[] {
    const instance: unknown = wrapper.instance;
    if (wrapper.isAlias || typeof instance !== 'object' || instance === null) return [];
    const isStatic = wrapper.isDependencyTreeStatic() && !wrapper.isTransient;
    // An instance that several tokens lead to is one handler.
    const identity = isStatic ? instance : wrapper;
    if (this.visited.has(identity)) return [];
    this.visited.add(identity);
    const prototype = (isStatic ? Object.getPrototypeOf(instance) : wrapper.metatype?.prototype) as Record<
      string,
      Function
    > | null;
    if (prototype === null || prototype === undefined) return [];
    return this.scanner.getAllMethodNames(prototype).flatMap((method) => {
      const channels = channelsOf(prototype[method]!);
      if (channels.length === 0) return [];
      const call = isStatic ? this.staticCall(wrapper, method) : this.scopedCall(wrapper, method);
      const label = `${prototype.constructor.name}.${method}`;
      return channels.map((channel) => this.hub.prepare(channel, call, this.hub.root, label));
    });
  }

  private staticCall(wrapper: InstanceWrapper, method: string): MessageCall {
    const call = this.pipeline.create(wrapper.instance as object, method, wrapper.id);
    const { local } = this;
    if (local === undefined) return call;
    // Code that a handler calls may ask for the session, which is the message's and ends with its handling.
    return (message, context) =>
      this.handle(message, context, (request) => local.run(request, () => call(message, context)));
  }

  /** An instance, and a session, for each message. */
  private scopedCall(wrapper: InstanceWrapper, method: string): MessageCall {
    return (message, context) =>
      this.handle(message, context, async (request) => {
        const contextId = ContextIdFactory.getByRequest(request);
        this.moduleRef.registerRequestByContextId(request, contextId);
        const host = wrapper.host!;
        const collection = host.controllers.has(wrapper.token) ? host.controllers : host.providers;
        const instance: object = await this.injector.loadPerContext(
          wrapper.instance as object,
          host,
          collection,
          contextId,
          wrapper,
        );
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
