// Calls of Vercel's AI SDK: `node vercel.mjs CASE...`. PROVIDER and RECEIVER are as for run.py.
// It reads the texts of conversation.py from the variable CONVERSATION.
import * as sdk from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { z } from "zod";

const said = JSON.parse(process.env.CONVERSATION);
const { generateText, streamText, generateObject, embed } = sdk;
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "recorded" }),
  spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter({ url: `${process.env.RECEIVER}/v1/traces` }))],
});
provider.register();

const openai = createOpenAI({ baseURL: `${process.env.PROVIDER}/v1`, apiKey: "sk-none" });
const anthropic = createAnthropic({ baseURL: `${process.env.PROVIDER}/v1`, apiKey: "sk-none" });
const model = openai.chat(said.OPENAI_MODEL);
const common = {
  model,
  system: said.SYSTEM,
  temperature: 0,
  maxRetries: 0,
  experimental_telemetry: {
    isEnabled: true,
    functionId: "weaver",
    metadata: { userId: said.USER_ID, sessionId: said.SESSION_ID, tags: said.TAGS },
  },
};
const parameters = z.object({ city: z.string() });
const getTemperature = {
  description: said.TOOL_DESCRIPTION,
  inputSchema: parameters, // version 5 and later
  parameters, // version 4
  execute: async () => said.TOOL_RESULT,
};
const steps = sdk.stepCountIs ? { stopWhen: sdk.stepCountIs(3) } : { maxSteps: 3 };

async function read(result) {
  for await (const _text of result.textStream);
}

const cases = {
  chat: () => generateText({ ...common, prompt: said.QUESTION }),
  stream: () => read(streamText({ ...common, prompt: said.QUESTION })),
  tools: () =>
    generateText({ ...common, ...steps, prompt: said.WEATHER_QUESTION, tools: { [said.TOOL_NAME]: getTemperature } }),
  structured: () =>
    generateObject({
      ...common,
      prompt: said.FABRIC_QUESTION,
      schema: z.object({ name: z.string(), threads: z.number() }),
    }),
  responses: () => generateText({ ...common, model: openai.responses(said.OPENAI_MODEL), prompt: said.QUESTION }),
  "image-data": () => picture(said.PIXEL_URL),
  reasoning: () =>
    generateText({
      ...common,
      temperature: undefined,
      model: anthropic(said.ANTHROPIC_MODEL),
      prompt: said.REASONING_QUESTION,
      providerOptions: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
    }),
  embeddings: () =>
    embed({
      model: openai.embedding(said.EMBEDDING_MODEL),
      value: said.EMBEDDED_TEXT,
      experimental_telemetry: common.experimental_telemetry,
    }),
  "error-limited": () => generateText({ ...common, model: openai.chat(said.LIMITED_MODEL), prompt: said.QUESTION }),
};

function picture(image) {
  const content = [
    { type: "text", text: said.PICTURE_QUESTION },
    { type: "image", image },
  ];
  return generateText({ ...common, messages: [{ role: "user", content }] });
}

for (const name of process.argv.slice(2)) {
  try {
    await cases[name]();
  } catch (error) {
    console.error(error);
  }
  await provider.forceFlush();
  await fetch(`${process.env.RECEIVER}/recorded/${name}`, { method: "POST" });
}
