import * as common from '@nestjs/common';
import { ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { isolateListeners } from '../core/isolated-signal.js';
import type { Reporter } from '../core/reporter.js';
import type { Session } from '../core/session.js';

// Nest before 11.2 has neither.
const { SSE_ABORT_CONTROLLER: CONTROLLER, SseSignal } = common as {
  /** Where `@SseSignal()` finds the controller of a request. */
  SSE_ABORT_CONTROLLER?: symbol;
  SseSignal?: () => ParameterDecorator;
};

/** The signal that Nest's `@SseSignal()` injects: aborted when the session of the request closes. Made when asked for. */
export class StreamSignal {
  private controller: AbortController | undefined = undefined;

  /** Whether a parameter of a method has `@SseSignal()`. No other stream has a signal, which would take 100 bytes of each. */
  static isAskedFor(target: object, key: string | symbol): boolean {
    return FACTORY !== undefined && factoriesOf(target.constructor, key).includes(FACTORY);
  }

  /** A parameter of no value of its own: once Nest has come to it, it finds a signal in the request. */
  static readonly provide = common.createParamDecorator((_data: unknown, context: common.ExecutionContext) => {
    const request = context.switchToHttp().getRequest<Record<symbol, unknown>>();
    if (CONTROLLER !== undefined) request[CONTROLLER] = new StreamSignal();
  });

  /** Has the signal of a request, where somebody asked for it, follow its session. To be called before the handler. */
  static follow(request: object, session: Session, reporter: Reporter): void {
    const own = CONTROLLER && (request as Record<symbol, unknown>)[CONTROLLER];
    if (!(own instanceof StreamSignal) || own.controller === undefined) return;
    const { controller } = own;
    isolateListeners(controller.signal, reporter, 'A listener of the signal of @SseSignal()');
    session.onClose(() => controller.abort());
  }

  get signal(): AbortSignal {
    return (this.controller ??= new AbortController()).signal;
  }
}

/** The function that Nest calls for a parameter with `@SseSignal()`, from its metadata. */
const FACTORY = factoryOf(SseSignal);

function factoryOf(decorator: (() => ParameterDecorator) | undefined): unknown {
  class Example {}
  decorator?.()(Example.prototype, 'method', 0);
  return factoriesOf(Example, 'method')[0];
}

function factoriesOf(target: object, key: string | symbol): unknown[] {
  const parameters = (Reflect.getMetadata(ROUTE_ARGS_METADATA, target, key) ?? {}) as Record<
    string,
    { readonly factory?: unknown }
  >;
  return Object.values(parameters).map(({ factory }) => factory);
}
