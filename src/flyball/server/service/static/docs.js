"use strict";
// The document lies beside the page; no validator elsewhere is asked.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  onComplete: () => {
    document.title = document.querySelector("#docs .title")?.firstChild?.textContent ?? document.title;
  },
});
