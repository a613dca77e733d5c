/**
 * Says what is wrong with an instance that has arrived, by the rules that its class declares; `undefined` where it
 * keeps them. Instances inside of it are checked by themselves.
 */
export type InstanceCheck = (instance: object, type: Function) => string | undefined;
