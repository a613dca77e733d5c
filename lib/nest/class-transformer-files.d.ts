// Files of class-transformer that have no entry in its types; see class-transformer-filter.ts.
declare module 'class-transformer/*/storage.js' {
  export const defaultMetadataStorage: unknown;
}
declare module 'class-transformer/*/TransformOperationExecutor.js' {
  export const TransformOperationExecutor: unknown;
}
