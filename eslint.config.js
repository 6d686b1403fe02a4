// The rules for the page's scripts, run by `make scripts`. Types are checked by tsc: see tsconfig.json.

const INNER = "Names, prompts and answers are untrusted: set them with textContent.";

export default [
  {
    files: ["src/safescape/views/pages/scripts/*.js"],
    linterOptions: { reportUnusedDisableDirectives: true },
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-shadow": ["error", { builtinGlobals: false }],
      "no-unused-vars": "error",
      "no-useless-assignment": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "insertAdjacentHTML", "write", "setHTMLUnsafe"].map((property) => ({ property, message: INNER })),
      ],
      // what the linker in linker.py reads: named imports and exports, each module at most once
      "no-duplicate-imports": "error",
      "no-restricted-syntax": [
        "error",
        { selector: "ExportDefaultDeclaration, ExportAllDeclaration, ExportNamedDeclaration[specifiers.length>0]", message: "Export where it is declared." },
        { selector: "ImportDefaultSpecifier, ImportNamespaceSpecifier, ImportExpression", message: "Import by name." },
      ],
    },
  },
];
