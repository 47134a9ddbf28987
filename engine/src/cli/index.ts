/**
 * The command line: one file a verb in `verbs/`, one table of them in `verbs/index.ts`, from which the program, the shell
 * completion and docs/reference/cli.md are made. A verb reads its options, calls an operation, and returns values and a
 * text; only `output/` writes, and only main.ts exits. Invariant: every verb speaks JSON with --json, one object on stdout.
 */
export { createContext, type GlobalOptions } from './context.ts';
export { buildProgram, firstWord, namedVerb, type ParsedCommand, parseArguments } from './program.ts';
export { loadVerbs } from './verbs/index.ts';
