// Tests of the modules that compute; those of views run in a browser.

import { defineConfig } from "vitest/config";

export default defineConfig({ test: { include: ["*.test.ts"], isolate: false, watch: false } });
