// Validates AsyncAPI documents with AsyncAPI's own parser; prints what it finds and fails on an error or a warning.
//
//     node validate_asyncapi.mjs DOCUMENT.yaml …

import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const SEVERITIES = ["error", "warning", "information", "hint"];
const WARNING = 1;

const parser = new Parser();
let bad = 0;
for (const path of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(path, "utf8"));
  for (const { severity, code, path: where, message } of diagnostics) {
    console.log(`${path}: ${SEVERITIES[severity]} ${code} at ${where.join(".")}: ${message}`);
    if (severity <= WARNING) bad += 1;
  }
  if (document === undefined) bad += 1;
  else console.log(`${path}: ${document.operations().length} operation, ${document.allSchemas().length} schemas`);
}
process.exit(bad === 0 ? 0 : 1);
