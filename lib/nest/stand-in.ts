type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Gives `call` the name of a method and all that decorators have noted on it, so that it can stand in the method's place. */
export function standIn(method: Function, call: Method): Method {
  Object.defineProperty(call, 'name', { value: method.name });
  for (const key of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), call);
  }
  return call;
}
