import { PARAMTYPES_METADATA } from '@nestjs/common/constants.js';
import { MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { watchEnd } from './handler-end.js';
import { hideType } from './injected-parameter.js';
import { takesMessages } from './messages.decorator.js';

/** Of `@MessagePattern` and `@EventPattern`; in words, since `@nestjs/microservices` need not be there. */
const PATTERN_METADATA = 'microservices:pattern';

/** Marks a class whose instances are injected, and are not for pipes. */
export const NOT_FOR_PIPES = Symbol('nestjs-messaging:not-for-pipes');

/**
 * Prepares the handlers of Nest's microservices that an application has for what this library injects there. To be called
 * before Nest makes its handlers of the methods.
 */
export function preparePatternHandlers(modules: ModulesContainer): void {
  const scanner = new MetadataScanner();
  for (const { controllers } of modules.values()) {
    for (const { metatype } of controllers.values()) {
      if (typeof metatype !== 'function') continue;
      const prototype = metatype.prototype as Record<string, Function>;
      for (const name of scanner.getAllMethodNames(prototype)) {
        const method = prototype[name]!;
        if (!Reflect.hasMetadata(PATTERN_METADATA, method)) continue;
        if (takesMessages(metatype, name)) watchEnd(method);
        hideContexts(prototype, name);
      }
    }
  }
}

/** Nest's own `@Ctx()` injects our context, too, which a pipe would take apart. */
function hideContexts(prototype: object, name: string): void {
  const types = (Reflect.getMetadata(PARAMTYPES_METADATA, prototype, name) ?? []) as readonly unknown[];
  types.forEach((type, index) => {
    if (typeof type === 'function' && NOT_FOR_PIPES in type) hideType(prototype, name, index);
  });
}
