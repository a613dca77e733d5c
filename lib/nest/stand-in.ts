type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Gives `call` the name and the metadata of a method, so that it can take the method's place. */
export function standIn(method: Function, call: Method): Method {
  Object.defineProperty(call, 'name', { value: method.name });
  for (const key of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), call);
  }
  return call;
}
