import type { ExceptionFilterMetadata } from '@nestjs/common/interfaces/exceptions/exception-filter-metadata.interface.js';
import {
  EXCEPTION_FILTERS_METADATA,
  GUARDS_METADATA,
  INTERCEPTORS_METADATA,
  PIPES_METADATA,
  ROUTE_ARGS_METADATA,
} from '@nestjs/common/constants.js';
import { selectExceptionFilterMetadata } from '@nestjs/common/utils/select-exception-filter-metadata.util.js';
import { ExternalExceptionFilterContext } from '@nestjs/core/exceptions/external-exception-filter-context.js';
import type { ExternalExceptionsHandler } from '@nestjs/core/exceptions/external-exceptions-handler.js';
import { GuardsConsumer } from '@nestjs/core/guards/guards-consumer.js';
import { GuardsContextCreator } from '@nestjs/core/guards/guards-context-creator.js';
import { ExternalContextCreator } from '@nestjs/core/helpers/external-context-creator.js';
import type { NestContainer } from '@nestjs/core/injector/container.js';
import type { ContextId } from '@nestjs/core/injector/instance-wrapper.js';
import { InterceptorsConsumer } from '@nestjs/core/interceptors/interceptors-consumer.js';
import { InterceptorsContextCreator } from '@nestjs/core/interceptors/interceptors-context-creator.js';
import { PipesConsumer } from '@nestjs/core/pipes/pipes-consumer.js';
import { PipesContextCreator } from '@nestjs/core/pipes/pipes-context-creator.js';
import type { MessageContext } from '../core/message-context.js';
import { MESSAGE_PARAM, messageParamsFactory } from './message-params.js';
import type { ObservableResults } from './observable-results.js';

/** Calls one method of one instance with a message. */
export type MessageCall = (message: unknown, context: MessageContext) => unknown;

type Instance = Record<string, (...args: unknown[]) => unknown>;

interface ParameterMetadata {
  readonly index: number;
  readonly data?: string;
  readonly pipes?: readonly unknown[];
  readonly schema?: unknown;
}

const ENHANCERS = [GUARDS_METADATA, INTERCEPTORS_METADATA, PIPES_METADATA, EXCEPTION_FILTERS_METADATA];

/** Puts the guards, pipes, interceptors and filters of a method and its class around it, and none of the application's. */
export class MessagePipeline {
  private readonly creator: ExternalContextCreator;

  /** @param applicationCreator - Nest's own, which leads to the container */
  constructor(
    applicationCreator: ExternalContextCreator,
    private readonly results: ObservableResults,
  ) {
    const container = applicationCreator['container' as never] as NestContainer;
    // Without the application's configuration the creators know no global enhancers.
    const creator = (this.creator = new MessageContextCreator(
      new GuardsContextCreator(container),
      new GuardsConsumer(),
      new InterceptorsContextCreator(container),
      new InterceptorsConsumer(),
      container.getModules(),
      new PipesContextCreator(container),
      new PipesConsumer(),
      new MessageFilterContext(container),
    ));
    // Nest would fail at one without a value, and stay subscribed when the application closes.
    creator.transformToResult = async (result: unknown) => results.settle(result);
  }

  /**
   * @param inquirerId - the id of the instance's wrapper
   * @param contextId - of a request-scoped instance
   */
  create(instance: object, method: string, inquirerId: string, contextId?: ContextId): MessageCall {
    const direct = directCall(instance as Instance, method);
    if (direct !== undefined) return (message, context) => this.results.settle(direct(message, context));
    nameParameters(instance as Instance, method);
    const options = { guards: true, interceptors: true, filters: true };
    return this.creator.create(
      instance,
      (instance as Instance)[method]!,
      method,
      ROUTE_ARGS_METADATA,
      messageParamsFactory,
      contextId,
      inquirerId,
      options,
      'message' as never,
    );
  }
}

/** The bare method, if nothing needs the pipeline. */
function directCall(instance: Instance, method: string): MessageCall | undefined {
  const target = instance.constructor;
  const handler = instance[method]!;
  if (ENHANCERS.some((key) => Reflect.hasMetadata(key, target) || Reflect.hasMetadata(key, handler))) return undefined;
  const metadata = Reflect.getMetadata(ROUTE_ARGS_METADATA, target, method) as
    Record<string, ParameterMetadata> | undefined;
  if (metadata === undefined) return (message, context) => handler.call(instance, message, context);
  const parameters = Object.entries(metadata).map(([key, parameter]) => ({
    ...parameter,
    type: Number(key.split(':')[0]),
  }));
  const isPlain = parameters.every(
    ({ type, pipes, schema }) =>
      (type === MESSAGE_PARAM.payload || type === MESSAGE_PARAM.context) && !pipes?.length && schema === undefined,
  );
  if (!isPlain) return undefined;
  return (message, context) => {
    const args: unknown[] = [];
    for (const { index, type, data } of parameters) {
      args[index] = messageParamsFactory.exchangeKeyForValue(type, data, [message, context]);
    }
    return handler.apply(instance, args);
  };
}

/** Tells pipes which parameter of an undecorated handler is the message: they are given none of a handler that says nothing. */
function nameParameters(instance: Instance, method: string): void {
  const target = instance.constructor;
  const hasPipes = [target, instance[method]!].some((each) => Reflect.hasMetadata(PIPES_METADATA, each));
  if (!hasPipes || Reflect.hasMetadata(ROUTE_ARGS_METADATA, target, method)) return;
  const { payload, context } = MESSAGE_PARAM;
  const parameters = { [`${payload}:0`]: { index: 0, pipes: [] }, [`${context}:1`]: { index: 1, pipes: [] } };
  Reflect.defineMetadata(ROUTE_ARGS_METADATA, parameters, target, method);
}

/** Pipes are for the message and for what the application's own decorators inject, and not for the context. */
class MessageContextCreator extends ExternalContextCreator {
  override async getParamValue<T>(...args: Parameters<ExternalContextCreator['getParamValue']>): Promise<T> {
    const [value, { type }] = args;
    return (Number(type) === MESSAGE_PARAM.context ? value : await super.getParamValue(...args)) as T;
  }
}

/**
 * Filters as a handler's author expects them: a filter that has caught an error has dealt with it, whatever
 * it returns, and what no filter catches is told once, by the engine.
 */
class MessageFilterContext extends ExternalExceptionFilterContext {
  override create(...args: Parameters<ExternalExceptionFilterContext['create']>): ExternalExceptionsHandler {
    const handler = super.create(...args);
    handler.next = (error, host) => {
      const filters = handler['filters'] as ExceptionFilterMetadata[];
      const filter = selectExceptionFilterMetadata(filters, error);
      if (filter === undefined) throw error;
      return Promise.resolve(filter.func(error, host));
    };
    return handler;
  }
}
