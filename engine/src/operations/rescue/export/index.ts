/**
 * One organization's rows as a folder of files, and back: the closure and the plan of a rescue, with files for the past.
 * docs/operations/export-one-organization.md describes the folder. Invariants: a folder that has its name is whole; an import
 * never renumbers, and never touches rows of others.
 */
export { openExport } from './export-folder.ts';
export { type ExportResult, exportOrganization } from './export-organization.ts';
export { planImport } from './import-organization.ts';
