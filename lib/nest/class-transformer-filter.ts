import type { ClassTransformOptions } from 'class-transformer';
import { FailedProperty, type ClassFilter, type OutgoingProperty } from '../protocol/codec/class-filter.js';

/**
 * What is used of class-transformer. It exports neither, although Nest's own packages (mapped-types, swagger) read the
 * storage in the same way; asking its own executor is the only way to obey its rules to the letter.
 */
export interface ClassTransformerInternals {
  readonly storage: {
    getStrategy(type: Function): string;
    getExposedMetadatas(type: Function): readonly unknown[];
    getExcludedMetadatas(type: Function): readonly unknown[];
    getAncestors(type: Function): readonly Function[];
    findExposeMetadata(type: Function, property: string): { options?: { name?: string } } | undefined;
    findTypeMetadata(type: Function, property: string): TypeMetadata | undefined;
    readonly ['_transformMetadatas']: ReadonlyMap<Function, unknown>;
    readonly ['_typeMetadatas']: ReadonlyMap<Function, unknown>;
  };
  readonly executor: new (
    direction: number,
    options: ClassTransformOptions,
  ) => {
    getKeys(type: Function, object: object, isMap: boolean): string[];
    applyCustomTransformations(value: unknown, type: Function, key: string, object: object, direction: number): unknown;
  };
}

interface TypeMetadata {
  readonly reflectedType?: unknown;
  readonly typeFunction?: (options: { newObject: object; object: object; property: string }) => unknown;
  readonly options?: {
    readonly discriminator?: { property: string; subTypes: readonly { name: string; value: Function }[] };
  };
}

// TransformationType.CLASS_TO_PLAIN
const TO_PLAIN = 1;

/**
 * Obeys class-transformer's `@Exclude`, `@Expose` and `@Transform` in every message, as `instanceToPlain` would with
 * the same options, but with the class of each instance itself and with references and types kept.
 */
export class ClassTransformerFilter implements ClassFilter {
  private readonly executor: InstanceType<ClassTransformerInternals['executor']>;
  private readonly applies = new WeakMap<Function, boolean>();

  /**
   * @param options - those of `instanceToPlain`; `groups` and `version` decide what a message of this application
   *   holds. Without groups, a property that is exposed to some group only does not leave.
   */
  constructor(
    private readonly internals: ClassTransformerInternals,
    private readonly options: ClassTransformOptions = {},
  ) {
    this.executor = new internals.executor(TO_PLAIN, { exposeUnsetFields: true, ...options });
  }

  appliesTo(type: Function): boolean {
    let applies = this.applies.get(type);
    if (applies === undefined) {
      applies = this.hasRules(type);
      this.applies.set(type, applies);
    }
    return applies;
  }

  letsOut(type: Function, property: string): boolean {
    return this.executor.getKeys(type, { [property]: true }, false).includes(property);
  }

  properties(object: object, type: Function, keys: readonly string[]): OutgoingProperty[] {
    // The executor looks at names only; an error's are not all enumerable, so it gets a list of what there is.
    const present = Object.fromEntries(keys.map((key) => [key, true]));
    return this.executor
      .getKeys(type, present, false)
      .filter((key) => key !== '__proto__' && key !== 'constructor')
      .map((key) => this.propertyOrFailure(object, type, key))
      .filter(({ value }) => value !== undefined || this.options.exposeUnsetFields !== false);
  }

  private propertyOrFailure(object: object, type: Function, property: string): OutgoingProperty {
    try {
      return this.property(object, type, property);
    } catch (error) {
      throw new FailedProperty(property, error);
    }
  }

  private property(object: object, type: Function, property: string): OutgoingProperty {
    const own = (object as Record<string, unknown>)[property];
    const transformed = this.executor.applyCustomTransformations(own, type, property, object, TO_PLAIN);
    const isExposedMethod = typeof own === 'function' && transformed === own && !Object.hasOwn(object, property);
    const value: unknown = isExposedMethod ? (own as () => unknown).call(object) : transformed;
    const name = this.internals.storage.findExposeMetadata(type, property)?.options?.name ?? property;
    return { name, property, value, type: this.typeOf(object, type, property, value) };
  }

  private typeOf(object: object, type: Function, property: string, value: unknown): Function | undefined {
    const metadata = this.internals.storage.findTypeMetadata(type, property);
    if (metadata === undefined) return undefined;
    const discriminator = metadata.options?.discriminator;
    const mark = discriminator && (value as Record<string, unknown> | null | undefined)?.[discriminator.property];
    const declared =
      discriminator?.subTypes.find(({ name }) => name === mark)?.value ??
      (metadata.typeFunction ? metadata.typeFunction({ newObject: {}, object, property }) : metadata.reflectedType);
    return typeof declared === 'function' ? declared : undefined;
  }

  private hasRules(type: Function): boolean {
    const { storage } = this.internals;
    const { excludePrefixes, strategy } = this.options;
    if ((excludePrefixes?.length ?? 0) > 0 || strategy === 'excludeAll') return true;
    return (
      storage.getStrategy(type) !== 'none' ||
      storage.getExposedMetadatas(type).length > 0 ||
      storage.getExcludedMetadatas(type).length > 0 ||
      [type, ...storage.getAncestors(type)].some(
        (ancestor) => storage['_transformMetadatas'].has(ancestor) || storage['_typeMetadatas'].has(ancestor),
      )
    );
  }
}
