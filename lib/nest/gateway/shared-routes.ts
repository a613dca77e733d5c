import { RequestMethod } from '@nestjs/common';
import {
  HOST_METADATA,
  METHOD_METADATA,
  MODULE_PATH,
  PATH_METADATA,
  VERSION_METADATA,
} from '@nestjs/common/constants.js';
import type { DecoratedMethod } from '../decorated-methods.js';

/** What Nest's decorators say of a handler. */
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

/** The route of a method of a controller, if it has one. */
export function routesOf(handler: Function): readonly HandlerRoute[] {
  const method = Reflect.getMetadata(METHOD_METADATA, handler) as RequestMethod | undefined;
  if (method === undefined) return [];
  const paths = list(Reflect.getMetadata(PATH_METADATA, handler));
  return [{ method, paths, version: Reflect.getMetadata(VERSION_METADATA, handler) as unknown }];
}

/**
 * The first route of the application that the gateway shares. Nest then asks only the handler whose module comes first.
 *
 * @param isGateway - whether a class is the gateway's controller
 * @param applicationId - by which Nest keeps the paths of modules
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

/** The method and path of each route, and its version. Names of parameters do not tell paths apart. */
function keysOf({ wrapper, marks }: DecoratedMethod<HandlerRoute>, applicationId: string): string[] {
  const { metatype, host } = wrapper;
  // Of another host it is another place.
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
