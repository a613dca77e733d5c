import type { Type } from '@nestjs/common';
import {
  EXCEPTION_FILTERS_METADATA,
  GUARDS_METADATA,
  INTERCEPTORS_METADATA,
  PATH_METADATA,
  PIPES_METADATA,
} from '@nestjs/common/constants.js';
import { describe } from '../../protocol/channel-name.js';
import { ConfigurationError } from '../../protocol/errors.js';
import { errorText } from '../log-text.js';
import { standIn } from '../stand-in.js';

/** Decorators of the application: for classes, for methods, or for both. */
type Decorator = ClassDecorator | MethodDecorator;
type AnyDecorator = (target: object, key?: string, descriptor?: PropertyDescriptor) => unknown;

const ENHANCERS = [GUARDS_METADATA, PIPES_METADATA, INTERCEPTORS_METADATA, EXCEPTION_FILTERS_METADATA];

/**
 * Puts decorators of the application above a controller and each of its routes, in this order. One that fits only classes, or
 * only methods, decorates those; it must throw a TypeError at the others.
 *
 * @throws ConfigurationError for a decorator that fits neither, that fails, that replaces a route, or that has not been called
 */
export function decorateController(controller: Type, decorators: readonly Decorator[]): void {
  if (decorators.length === 0) return;
  const prototype = controller.prototype as object;
  const routes = takeRoutes(prototype);
  // As written above each other, the lowest comes first.
  for (const [index, decorator] of [...decorators.entries()].toReversed()) {
    const place = `option "decorators[${index}]" of the gateway`;
    if (typeof decorator !== 'function') {
      throw new ConfigurationError(`${place} must be a decorator, as Public(), not ${describe(decorator)}`);
    }
    const decorate = decorator as AnyDecorator;
    const ofClass = failureOf(() => decorateClass(decorate, controller, place));
    const ofRoutes = failureOf(() => routes.forEach((route) => decorateRoute(decorate, prototype, route, place)));
    assertFits(place, ofClass, ofRoutes);
  }
  for (const route of routes) runOnce(controller, routeOf(prototype, route));
}

/** A decorator for classes only, or for methods only, throws a TypeError at the others. Any other error is a fault of its own. */
function assertFits(place: string, ofClass: unknown, ofRoutes: unknown): void {
  const misuse = [ofClass, ofRoutes].find((error) => error instanceof ConfigurationError);
  if (misuse !== undefined) throw misuse;
  if (ofClass !== undefined && ofRoutes !== undefined) {
    const text = `${place} fits neither its controller (${errorText(ofClass)}) nor its routes (${errorText(ofRoutes)})`;
    throw new ConfigurationError(text, { cause: ofRoutes });
  }
  const fault = [ofClass, ofRoutes].find((error) => error !== undefined && !(error instanceof TypeError));
  if (fault === undefined) return;
  const where = fault === ofClass ? 'its controller' : 'its routes';
  throw new ConfigurationError(
    `${place} failed at ${where}: ${errorText(fault)}; one that is not for these throws a TypeError there`,
    { cause: fault },
  );
}

/** Gives the controller its own methods: metadata belongs to the method, and applications in one process share the inherited one. */
function takeRoutes(prototype: object): string[] {
  const inherited = Object.getPrototypeOf(prototype) as object;
  const names = Object.getOwnPropertyNames(inherited).filter(
    (name) => name !== 'constructor' && Reflect.hasMetadata(PATH_METADATA, routeOf(inherited, name)),
  );
  for (const name of names) {
    const method = routeOf(inherited, name);
    const own = standIn(method, function (...args) {
      return method.apply(this, args) as unknown;
    });
    Object.defineProperty(prototype, name, { value: own, writable: true, configurable: true });
  }
  return names;
}

function routeOf(prototype: object, name: string): Function {
  return (prototype as Record<string, Function>)[name]!;
}

function decorateClass(decorate: AnyDecorator, controller: Type, place: string): void {
  const answer = decorate(controller);
  if (answer !== undefined && answer !== controller) throw replaced(answer, place);
}

function decorateRoute(decorate: AnyDecorator, prototype: object, name: string, place: string): void {
  const descriptor = Object.getOwnPropertyDescriptor(prototype, name)!;
  const answer = decorate(prototype, name, descriptor);
  if (typeof answer === 'function') throw replaced(answer, place);
  Object.defineProperty(prototype, name, (answer as PropertyDescriptor | null | undefined) ?? descriptor);
  if (Reflect.hasMetadata(PATH_METADATA, routeOf(prototype, name))) return;
  throw new ConfigurationError(
    `${place} must not replace what it decorates, but returned a method that is no route; use an interceptor, or copy the metadata of the method`,
  );
}

/** A decorator factory that was not called returns the decorator. */
function replaced(answer: unknown, place: string): ConfigurationError {
  return new ConfigurationError(
    `${place} must not replace what it decorates, but returned ${describe(answer)}; if a function makes the decorator, call it: ` +
      'Public(), not Public',
  );
}

function failureOf(act: () => void): unknown {
  try {
    return act();
  } catch (error) {
    return error ?? new Error('it threw nothing');
  }
}

/** Takes from a route the enhancers that its controller has too: they would run twice for each request. */
function runOnce(controller: Type, route: Function): void {
  for (const key of ENHANCERS) {
    const ofController = (Reflect.getMetadata(key, controller) ?? []) as unknown[];
    const ofRoute = (Reflect.getMetadata(key, route) ?? []) as unknown[];
    const rest = ofRoute.filter((enhancer) => !ofController.includes(enhancer));
    if (rest.length < ofRoute.length) Reflect.defineMetadata(key, rest, route);
  }
}
