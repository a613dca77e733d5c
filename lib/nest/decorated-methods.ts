import { Injectable } from '@nestjs/common';
import { ContextIdFactory, DiscoveryService, LazyModuleLoader, MetadataScanner, ModuleRef } from '@nestjs/core';
import { STATIC_CONTEXT } from '@nestjs/core/injector/constants.js';
import type { ContextId, InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { Injector } from '@nestjs/core/injector/injector.js';

/** A method of a provider or controller that a decorator has marked. */
export interface DecoratedMethod<Mark> {
  readonly wrapper: InstanceWrapper;
  readonly method: string;
  /** `Class.method`, for logs. */
  readonly label: string;
  /** Whether one instance serves the whole application; else there is one for each request or message. */
  readonly isStatic: boolean;
  readonly marks: readonly Mark[];
}

/** Finds decorated methods wherever the application has them, in modules that are loaded later too. */
@Injectable()
export class DecoratedMethods {
  private readonly injector = new Injector();
  private readonly onLoad: (() => Promise<void>)[] = [];

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
    private readonly moduleRef: ModuleRef,
    lazyModules: LazyModuleLoader,
  ) {
    // Nest has no hook for a module loaded later; this application's loader is the one place all of them pass.
    const load = lazyModules.load.bind(lazyModules);
    lazyModules.load = async (...args) => {
      const loaded = await load(...args);
      for (const look of this.onLoad) await look();
      return loaded;
    };
  }

  /** Runs a function each time a module has been loaded later, before the loader returns. */
  whenLoaded(look: () => Promise<void>): void {
    this.onLoad.push(look);
  }

  /**
   * @param marksOf - what a decorator has said of a method
   * @returns finds the methods that were not there the last time
   */
  finder<Mark>(marksOf: (handler: Function) => readonly Mark[]): () => DecoratedMethod<Mark>[] {
    const visited = new Visited();
    return () => {
      const wrappers = [...this.discovery.getProviders(), ...this.discovery.getControllers()];
      return wrappers.flatMap((wrapper) => this.methodsOf(wrapper, marksOf, visited));
    };
  }

  /** The instance for one request or message, whose enhancers and dependencies Nest makes for it, too. */
  async instanceFor(
    wrapper: InstanceWrapper,
    request: object,
  ): Promise<{ readonly instance: object; readonly contextId: ContextId }> {
    const contextId = ContextIdFactory.getByRequest(request as never);
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
    return { instance, contextId };
  }

  private methodsOf<Mark>(
    wrapper: InstanceWrapper,
    marksOf: (handler: Function) => readonly Mark[],
    visited: Visited,
  ): DecoratedMethod<Mark>[] {
    const instance: unknown = wrapper.instance;
    if (wrapper.isAlias || typeof instance !== 'object' || instance === null) return [];
    const isStatic = wrapper.isDependencyTreeStatic() && !wrapper.isTransient;
    // Of a module that is being loaded while another load ends: not constructed yet.
    if (isStatic && !wrapper.getInstanceByContextId(STATIC_CONTEXT).isResolved) return [];
    // An instance that several tokens lead to is one handler.
    if (!visited.add(isStatic ? instance : wrapper, wrapper)) return [];
    const prototype = (isStatic ? Object.getPrototypeOf(instance) : wrapper.metatype?.prototype) as Record<
      string,
      Function
    > | null;
    if (prototype === null || prototype === undefined) return [];
    return this.scanner.getAllMethodNames(prototype).flatMap((method) => {
      const marks = marksOf(prototype[method]!);
      const label = `${prototype.constructor.name}.${method}`;
      return marks.length === 0 ? [] : [{ wrapper, method, label, isStatic, marks }];
    });
  }
}

/** What a finder has come by: identities, and places in modules. */
class Visited {
  private readonly identities = new WeakSet<object>();
  private readonly places = new WeakMap<object, Set<unknown>>();

  /** @returns whether both are new; Nest before 11.2 fills the places of a module anew when it is loaded again */
  add(identity: object, wrapper: InstanceWrapper): boolean {
    const { controllers, providers } = wrapper.host!;
    const collection = controllers.get(wrapper.token) === wrapper ? controllers : providers;
    const tokens = this.places.get(collection) ?? new Set();
    const isNew = !this.identities.has(identity) && !tokens.has(wrapper.token);
    this.identities.add(identity);
    this.places.set(collection, tokens.add(wrapper.token));
    return isNew;
  }
}
