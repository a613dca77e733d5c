import { InvalidMessageError } from '../errors.js';
import type { KnownTypes } from '../known-types.js';
import { isErrorOf, thrownText } from '../thrown.js';
import { checkJson } from './check-json.js';
import { Decoder } from './decoder.js';
import type { InstanceReader } from './message-instances.js';

/**
 * Reads a message. What `JSON.parse` made of it becomes part of the message: it must be used for nothing else.
 * Safe for any input: it ends in time linear in the size of the texts, and calls no constructor and no setter of the
 * application's classes. Apart from the codec, so that who only receives, as a browser does, need not load the rest.
 *
 * @param types - the classes of the application
 * @param data - what JSON.parse made of `EncodedMessage.data`
 * @param type - the wire name of the message's class, if there is one
 * @param meta - what JSON.parse made of `EncodedMessage.meta`
 * @param instances - what becomes of the instances in it, once all of the message is found to be right
 * @throws InvalidMessageError, and nothing else, if it is not a value of its type
 */
export function decodeMessage(
  types: KnownTypes,
  data: unknown,
  type: string | undefined,
  meta: unknown,
  instances?: InstanceReader,
): unknown {
  try {
    checkJson(data);
    if (type === undefined && meta === undefined) return data;
    return new Decoder(types, instances?.begin()).decode(data, type, meta);
  } catch (error) {
    // Objects of the application that the message updates may throw anything.
    if (isErrorOf(error, InvalidMessageError)) throw error;
    throw new InvalidMessageError(`it cannot be read: ${thrownText(error)}`, { cause: error });
  }
}
