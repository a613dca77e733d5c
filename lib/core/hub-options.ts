import type { ClassFilter } from '../protocol/codec/class-filter.js';
import type { InstanceCheck } from '../protocol/codec/instance-check.js';
import type { Limits } from '../protocol/limits.js';
import type { Reporter } from './reporter.js';
import type { Transport } from './transport.js';

/** What a hub is made of. */
export interface HubOptions {
  /** Where failures are told that have no caller. */
  readonly reporter: Reporter;
  /** Carries messages to other nodes. Without it, this node is alone. */
  readonly transport?: Transport | undefined;
  readonly limits?: Partial<Limits> | undefined;
  /** Decides what of an instance leaves the process; without it, all of its own enumerable properties. */
  readonly classFilter?: ClassFilter | undefined;
  /** What each instance that arrives from elsewhere, or is posted, must pass. */
  readonly instanceCheck?: InstanceCheck | undefined;
  /** Sign what nodes say to each other on the library's own channels: the first one signs, all are accepted; none: nothing is signed. */
  readonly secrets?: readonly string[] | undefined;
  /** What tells this application from others with the same secret. */
  readonly application?: string | undefined;
  /** @defaultValue true */
  readonly validateOnPost?: boolean | undefined;
  /** How long revocations count, in milliseconds. @defaultValue a day */
  readonly revocationTtlMs?: number | undefined;
}
