import type { ModulesContainer } from '@nestjs/core';
import type { InstanceWrapper } from '@nestjs/core/injector/instance-wrapper.js';
import { ConfigurationError } from '../protocol/errors.js';
import { injectedInto } from './injected-into.js';
import { SessionMessages } from './session-messages.js';

/**
 * A durable provider of Nest is made for one request and kept for others, so that it would keep the messages of somebody
 * else's session.
 *
 * @throws ConfigurationError that names the provider and the fix
 */
export function refuseDurableHolders(modules: ModulesContainer): void {
  for (const { providers, controllers } of modules.values()) {
    for (const wrapper of [...providers.values(), ...controllers.values()]) {
      if (!isDurable(wrapper)) continue;
      const path = pathToSession(wrapper, new Set());
      if (path === undefined) continue;
      const via = path.length > 0 ? ` by way of ${path.join(' and ')}` : '';
      throw new ConfigurationError(
        `${wrapper.name} is durable and injects SessionMessages${via}, which belongs to a single request: ` +
          'inject MessagingService and use openSession(), or set the option scope to "async-local"',
      );
    }
  }
}

function isDurable(wrapper: InstanceWrapper): boolean {
  return !wrapper.isDependencyTreeStatic() && wrapper.isDependencyTreeDurable();
}

/** The providers between this one and the session's messages; `undefined`: it does not lead there. */
function pathToSession(wrapper: InstanceWrapper, seen: Set<InstanceWrapper>): string[] | undefined {
  seen.add(wrapper);
  for (const dependency of injectedInto(wrapper)) {
    if (seen.has(dependency)) continue;
    if (dependency.token === SessionMessages) return dependency.isDependencyTreeStatic() ? undefined : [];
    const path = pathToSession(dependency, seen);
    if (path !== undefined) return [String(dependency.name), ...path];
  }
  return undefined;
}
