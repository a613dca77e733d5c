import { RequestMethod } from '@nestjs/common';
import {
  HOST_METADATA,
  METHOD_METADATA,
  MODULE_PATH,
  PATH_METADATA,
  VERSION_METADATA,
} from '@nestjs/common/constants.js';
import type { DecoratedMethod } from '../decorated-methods.js';

/** The route that Nest's decorators give a handler. */
interface HandlerRoute {
  readonly method: RequestMethod;
  readonly paths: readonly string[];
  readonly version: unknown;
}

/** A route of the application that has the method and the path of one of the gateway's. */
export interface SharedRoute {
  /** `Class.method` of the application's handler. */
  readonly label: string;
  /** `GET /messages`. */
  readonly route: string;
}

/** The route of a controller's method, in a list, which is empty if the method has none. */
export function routesOf(handler: Function): readonly HandlerRoute[] {
  const method = Reflect.getMetadata(METHOD_METADATA, handler) as RequestMethod | undefined;
  if (method === undefined) return [];
  const paths = list(Reflect.getMetadata(PATH_METADATA, handler));
  return [{ method, paths, version: Reflect.getMetadata(VERSION_METADATA, handler) as unknown }];
}

/**
 * The first route of the application that the gateway has too. Nest calls only the handler whose module comes first.
 *
 * @param isGateway - whether a class is the gateway's controller
 * @param applicationId - the id that Nest keeps the paths of modules under
 */
export function findSharedRoute(
  handlers: readonly DecoratedMethod<HandlerRoute>[],
  isGateway: (type: unknown) => boolean,
  applicationId: string,
): SharedRoute | undefined {
  const gateway = handlers.filter(({ wrapper }) => isGateway(wrapper.metatype));
  const taken = new Set(gateway.flatMap((handler) => keysOf(handler, applicationId)));
  for (const handler of handlers) {
    const key = gateway.includes(handler) ? undefined : keysOf(handler, applicationId).find((each) => taken.has(each));
    if (key !== undefined) return { label: handler.label, route: key.split('\n', 1)[0]! };
  }
  return undefined;
}

/** The method, path and version of each route. Paths that differ only in the names of parameters are the same. */
function keysOf({ wrapper, marks }: DecoratedMethod<HandlerRoute>, applicationId: string): string[] {
  const { metatype, host } = wrapper;
  // A route of another host is another route.
  if (typeof metatype !== 'function' || Reflect.getMetadata(HOST_METADATA, metatype) !== undefined) return [];
  const prefix = host === undefined ? [] : list(Reflect.getMetadata(MODULE_PATH + applicationId, host.metatype));
  const version = Reflect.getMetadata(VERSION_METADATA, metatype) as unknown;
  return marks.flatMap((mark) =>
    list(Reflect.getMetadata(PATH_METADATA, metatype)).flatMap((path) =>
      mark.paths.flatMap((last) =>
        methodsOf(mark.method).map((method) => {
          const whole = [...prefix, path, last].flatMap((part) => part.split('/')).filter(Boolean);
          const names = whole.map((part) => (part.startsWith(':') ? ':' : part));
          return `${method} /${names.join('/')}\n${String(mark.version ?? version)}`;
        }),
      ),
    ),
  );
}

function methodsOf(method: RequestMethod): string[] {
  return method === RequestMethod.ALL ? ['GET', 'POST'] : [RequestMethod[method]];
}

function list(value: unknown): string[] {
  return Array.isArray(value) ? (value as string[]) : [typeof value === 'string' ? value : ''];
}
