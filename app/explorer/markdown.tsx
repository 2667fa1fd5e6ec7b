// Markdown of messages. No HTML of the text passes, images are shown as links, and links open in a new tab.

import { micromark } from "micromark";
import { useEffect, useRef } from "preact/hooks";

export default function Markdown({ text }: { text: string }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!box.current) return;
    // micromark escapes HTML and drops links of other protocols than http, https, mailto and a few more.
    const parsed = new DOMParser().parseFromString(micromark(text), "text/html");
    for (const image of parsed.querySelectorAll("img")) {
      const link = parsed.createElement("a");
      link.textContent = image.alt || image.src;
      link.href = image.src;
      image.replaceWith(link);
    }
    for (const link of parsed.querySelectorAll("a")) {
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
    box.current.replaceChildren(...parsed.body.childNodes);
  }, [text]);
  return <div class="markdown" dir="auto" ref={box} />;
}
