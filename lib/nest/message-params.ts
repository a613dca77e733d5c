import { assignMetadata, type PipeTransform, type Type } from '@nestjs/common';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { hideType } from './injected-parameter.js';

/** The numbers that Nest's microservices use for the same parameters, so that their decorators work here too. */
export const MESSAGE_PARAM = { payload: 3, context: 6 } as const;

type Pipe = Type<PipeTransform> | PipeTransform;

/**
 * The message, or one property of it, as a parameter of an `@OnMessage` handler.
 *
 * @example
 * ```ts
 * @OnMessage(UserUpdates)
 * handle(@Payload('id', ParseIntPipe) id: number) {}
 * ```
 */
export function Payload(...pipes: Pipe[]): ParameterDecorator;
export function Payload(property: string, ...pipes: Pipe[]): ParameterDecorator;
export function Payload(...args: (string | Pipe)[]): ParameterDecorator {
  const property = typeof args[0] === 'string' ? args[0] : undefined;
  const pipes = args.filter((arg): arg is Pipe => typeof arg !== 'string');
  return parameter(MESSAGE_PARAM.payload, property, pipes);
}

/** The {@link MessageContext} as a parameter of an `@OnMessage` handler. */
export function Ctx(): ParameterDecorator {
  const decorate = parameter(MESSAGE_PARAM.context, undefined, []);
  return (target, method, index) => {
    decorate(target, method, index);
    // Of a handler of Nest's microservices, where pipes are given it as well.
    hideType(target, method!, index);
  };
}

function parameter(type: number, data: string | undefined, pipes: Pipe[]): ParameterDecorator {
  return (target, method, index) => {
    const known = (Reflect.getMetadata(ROUTE_ARGS_METADATA, target.constructor, method!) ?? {}) as Record<
      number,
      never
    >;
    // What Nest takes under this key is a type parameter of its own kinds of parameter; the numbers are shared.
    const metadata: object = assignMetadata(known, type as never, index, data, ...pipes);
    Reflect.defineMetadata(ROUTE_ARGS_METADATA, metadata, target.constructor, method!);
  };
}

/** Gives the parameters of a handler what their decorators ask for. */
export const messageParamsFactory = {
  exchangeKeyForValue(type: number, property: unknown, args: readonly unknown[]): unknown {
    if (type === MESSAGE_PARAM.context) return args[1];
    if (type !== MESSAGE_PARAM.payload) return null;
    return typeof property === 'string' ? (args[0] as Record<string, unknown> | null | undefined)?.[property] : args[0];
  },
};
