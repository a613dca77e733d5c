import { InvalidMessageError } from '../errors.js';
import type { IdentityMap } from '../identity-map.js';
import type { KnownTypes } from '../known-types.js';
import { checkJson } from './check-json.js';
import { Decoder } from './decoder.js';
import type { InstanceCheck } from './instance-check.js';

/**
 * Reads a message. What `JSON.parse` made of it becomes part of the message: it must be used for nothing else.
 * Safe for any input: it ends in time linear in the size of the texts, and calls no constructor and no setter of the
 * application's classes. Apart from the codec, so that who only receives, as a browser does, need not load the rest.
 *
 * @param types - the classes of the application
 * @param data - what JSON.parse made of `EncodedMessage.data`
 * @param type - the wire name of the message's class, where there is one
 * @param meta - what JSON.parse made of `EncodedMessage.meta`
 * @param check - what each instance in it must pass
 * @param identityMap - where keyed instances live on: they are updated, once all of the message is found to be right
 * @throws InvalidMessageError where it is no value of its type, and nothing else
 */
export function decodeMessage(
  types: KnownTypes,
  data: unknown,
  type: string | undefined,
  meta: unknown,
  check?: InstanceCheck,
  identityMap?: IdentityMap,
): unknown {
  try {
    checkJson(data);
    if (type === undefined && meta === undefined) return data;
    return new Decoder(types, check, identityMap?.begin()).decode(data, type, meta);
  } catch (error) {
    if (error instanceof InvalidMessageError) throw error;
    throw new InvalidMessageError(`it cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
