import { PARAMTYPES_METADATA, PROPERTY_DEPS_METADATA, SELF_DECLARED_DEPS_METADATA } from '@nestjs/common/constants.js';
import type { InjectionToken } from '@nestjs/common';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import type { Module } from '@nestjs/core/injector/module.js';

/**
 * The providers that a provider or controller injects, by what its class or factory declares. Nest's own notes of them are not
 * complete when an application starts: Nest 11 resolves a request-scoped provider with the first request.
 */
export function injectedInto(wrapper: InstanceWrapper): InstanceWrapper[] {
  const { host } = wrapper;
  if (host === undefined) return [];
  return tokensOf(wrapper).flatMap((token) => lookUp(tokenOf(token), host) ?? []);
}

function tokensOf({ metatype, inject }: InstanceWrapper): unknown[] {
  if (inject) return inject;
  if (typeof metatype !== 'function') return [];
  const parameters = [...declared(PARAMTYPES_METADATA, metatype)];
  // `@Inject()` on a parameter names another token than its type.
  for (const { index, param } of declared(SELF_DECLARED_DEPS_METADATA, metatype) as readonly {
    index: number;
    param: unknown;
  }[]) {
    parameters[index] = param;
  }
  const properties = declared(PROPERTY_DEPS_METADATA, metatype) as readonly { type: unknown }[];
  return [...parameters, ...properties.map(({ type }) => type)];
}

function declared(key: string, metatype: object): readonly unknown[] {
  return (Reflect.getMetadata(key, metatype) ?? []) as unknown[];
}

/** The token itself, without `forwardRef()` and without `{ token, optional }` of a factory. */
function tokenOf(declaration: unknown): InjectionToken {
  const { forwardRef, token } = (declaration ?? {}) as { forwardRef?: () => InjectionToken; token?: InjectionToken };
  if (typeof forwardRef === 'function') return forwardRef();
  return token ?? (declaration as InjectionToken);
}

/** Finds a provider as Nest does: in the module itself, then in what its imports export, and in what these re-export. */
function lookUp(token: InjectionToken, host: Module): InstanceWrapper | undefined {
  return host.providers.get(token) ?? exportedTo(host, token, new Set([host]), () => true);
}

function exportedTo(
  module: Module,
  token: InjectionToken,
  seen: Set<Module>,
  isReached: (imported: Module) => boolean,
): InstanceWrapper | undefined {
  for (const imported of module.imports) {
    if (seen.has(imported) || !isReached(imported)) continue;
    seen.add(imported);
    const { exports, providers } = imported;
    const own = exports.has(token) ? providers.get(token) : undefined;
    const found = own ?? exportedTo(imported, token, seen, ({ metatype }) => exports.has(metatype));
    if (found !== undefined) return found;
  }
  return undefined;
}
