// Compiles files with one version of TypeScript, in one process, since each start of a compiler takes a second.
//
//   node check-types.mjs <folder of a typescript package> '[{ "files": ["a.ts"], "options": { … } }, …]'
//
// Prints, as JSON, an array of the complaints about each: about the files, those beside them, and the declarations of nestjs-messaging.
// Those of other packages are not checked.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const [typescript, cases] = process.argv.slice(2);
const ts = createRequire(import.meta.url)(typescript);
const parsed = new Map();

/** Parses each declaration of others once for all cases. */
function hostFor(options) {
  const host = ts.createCompilerHost(options);
  const { getSourceFile } = host;
  host.getSourceFile = (file, language, ...rest) => {
    if (isOurs(file)) return getSourceFile(file, language, ...rest);
    const key = `${file} ${JSON.stringify(language)}`;
    if (!parsed.has(key)) parsed.set(key, getSourceFile(file, language, ...rest));
    return parsed.get(key);
  };
  return host;
}

function isOurs(file) {
  return file.startsWith(process.cwd()) && !/node_modules\/(?!nestjs-messaging)/.test(file);
}

function check({ files, options: json }) {
  const given = { noEmit: true, strict: true, skipLibCheck: false, ...json };
  const { options, errors } = ts.convertCompilerOptionsFromJson(given, process.cwd());
  const program = ts.createProgram(
    files.map((file) => resolve(file)),
    options,
    hostFor(options),
  );
  const checked = program.getSourceFiles().filter(({ fileName }) => isOurs(fileName));
  return [
    ...errors,
    ...program.getOptionsDiagnostics(),
    ...checked.flatMap((source) => [
      ...program.getSyntacticDiagnostics(source),
      ...program.getSemanticDiagnostics(source),
    ]),
    ...program.getGlobalDiagnostics(),
  ].map(({ file: source, messageText }) => {
    return `${source?.fileName ?? 'options'}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}

console.log(JSON.stringify(JSON.parse(cases).map(check)));
