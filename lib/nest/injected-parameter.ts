import { createParamDecorator, type ExecutionContext, type PipeTransform, type Type } from '@nestjs/common';
import { PARAMTYPES_METADATA } from '@nestjs/common/constants.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError } from '../protocol/errors.js';

/**
 * What Nest hands to the pipe of an {@link injectedParameter}. A function, because all pipes of the application get it
 * first: they validate, copy and walk through objects, and leave functions alone.
 */
export type InjectedContext = () => ExecutionContext;

const WithContext = createParamDecorator(
  (_data: unknown, context: ExecutionContext): InjectedContext =>
    () =>
      context,
);

/**
 * A parameter that a pipe of this library makes. No pipe of the application transforms or validates it, also not with
 * `validateCustomDecorators`.
 *
 * @param name - the decorator, for errors
 */
export function injectedParameter(name: string, pipe: Type<PipeTransform<InjectedContext>>): ParameterDecorator {
  const decorate = WithContext(pipe);
  return (target, method, index) => {
    if (method === undefined) {
      throw new ConfigurationError(`${name} decorates parameters of methods, not of a constructor`);
    }
    decorate(target, method, index);
    hideType(target, method, index);
  };
}

/**
 * The context that an injected parameter is made from.
 *
 * @throws ConfigurationError if a pipe of the application put something else in its place
 */
export function contextOf(injected: InjectedContext, name: string): ExecutionContext {
  const value: unknown = injected;
  if (typeof value === 'function') return injected();
  throw new ConfigurationError(
    `${name}: a pipe of the application replaced the value of this decorator with ${describe(value)}; ` +
      "let the pipe return parameters of type 'custom' as they are",
  );
}

/** Lets pipes see a parameter as one of no class in particular, of which there is nothing to validate. */
export function hideType(target: object, method: string | symbol, index: number): void {
  // Compilers emit types before they apply the decorators of parameters; some emit none.
  const types = Reflect.getMetadata(PARAMTYPES_METADATA, target, method) as unknown[] | undefined;
  if (types?.[index] === undefined) return;
  Reflect.defineMetadata(PARAMTYPES_METADATA, types.with(index, Object), target, method);
}
